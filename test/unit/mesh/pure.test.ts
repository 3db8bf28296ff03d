import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { Scratch } from '../cluster/support/scratch.ts'

const inRoot = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

const IMPURE = [
  'export const now = Date.now()',
  'export const now = new Date()',
  'export const now = performance.now()',
  'export const now = globalThis.performance.now()',
  "export { performance } from 'node:perf_hooks'",
  'export const now = process.hrtime()',
  'export const roll = Math.random()',
  'setTimeout(() => {}, 1_000)',
]

/** Files of one line each, in such a folder of ours. @returns the lines that the linter refuses there */
function refused(root: string, folder: string): string[] {
  mkdirSync(join(root, folder), { recursive: true })
  for (const [index, line] of IMPURE.entries()) writeFileSync(join(root, folder, `${index}.ts`), `${line}\n`)
  const argv = ['--quiet', '--format=unix', folder]
  const { stdout } = spawnSync(inRoot('node_modules/.bin/oxlint'), argv, { cwd: root, encoding: 'utf8' })
  return IMPURE.filter((_, index) => stdout.includes(`${folder}/${index}.ts:`))
}

test('the planner has no clock, no chance and no environment: the linter refuses what would give it one, and elsewhere does not', async () => {
  await using tree = await Scratch.make()
  copyFileSync(inRoot('.oxlintrc.json'), join(tree.path, '.oxlintrc.json'))
  expect(refused(tree.path, 'src/mesh')).toEqual(IMPURE)
  expect(refused(tree.path, 'src/agent')).toEqual([])
})
