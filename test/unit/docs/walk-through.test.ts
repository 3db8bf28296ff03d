import { expect, test } from 'vitest'
import { commandsIn } from '../../cluster/walk/document.ts'
import { CHAPTERS } from '../../cluster/walk/steps.ts'
import { read } from './support.ts'

const STEPS = CHAPTERS.flatMap(({ steps }) => steps)

test('docs/walk-through.md shows the walk as it is taken: PODVEIL_WRITE_WALK=1 vitest run --project cluster test/cluster/walk.test.ts', () => {
  expect(commandsIn(read('docs/walk-through.md'))).toEqual(STEPS.map(({ run }) => run))
})

test('the README has the commands of the walk that a new user needs, word for word', () => {
  const readme = read('README.md')
  const commands = STEPS.flatMap(({ run, readme: isThere }) => (isThere ? [run] : []))
  expect(commands.length).toBeGreaterThan(5)
  expect(commands.filter(command => !readme.includes(command))).toEqual([])
})
