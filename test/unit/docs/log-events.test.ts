import { expect, test } from 'vitest'
import { filesBelow, firstCells, inCode, read } from './support.ts'

/** Calls of a logger in what the agent is made of: the start of their first argument. */
const calls = ['src/agent', 'src/cluster', 'src/hello', 'src/web']
  .flatMap(directory => filesBelow(directory, '.ts'))
  .flatMap(file =>
    [...read(file).matchAll(/\b#?(?:log|logger)(?:\.(?:debug|info|warn|error)|\[[^\]]+\])\(\s*(.{0,60})/gs)].map(
      ([, start = '']) => ({ file, start }),
    ),
  )

const names = calls.flatMap(({ start }) => /^\{\s*event: '([a-z]+(?:-[a-z]+)*)'/.exec(start)?.[1] ?? [])

test('every line of the log has a stable name in `event`', () => {
  expect(calls.length).toBeGreaterThan(30)
  expect(calls.filter(({ start }) => !/^\{\s*event: '[a-z]+(?:-[a-z]+)*'/.test(start))).toEqual([])
})

test('docs/metrics.md names every event of the log, and no other', () => {
  const documented = firstCells(read('docs/metrics.md'), 'event').flatMap(inCode)
  expect(documented.toSorted()).toEqual([...new Set(names)].toSorted())
})
