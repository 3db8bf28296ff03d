import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files that take a minute and more, the longest first. */
const LONGEST = [
  'mesh/switch',
  'guard/enforce',
  'mesh/restart',
  'change/settings',
  'change/rotation',
  'mesh/self-healing',
  'guard/modes',
  'cli/see',
  'mesh/bad-input',
  'mesh/nat',
]

/** So that the longest does not run last, alone: two files run side by side. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const others = await super.sort(files)
    return others.toSorted((a, b) => rank(a) - rank(b))
  }
}

function rank({ moduleId }: TestSpecification): number {
  const found = LONGEST.findIndex(name => moduleId.endsWith(`/${name}.test.ts`))
  return found < 0 ? LONGEST.length : found
}
