import { readFileSync, realpathSync } from 'node:fs'
import { expect, test } from 'vitest'
import { releaseStart } from '#src/agent/release-start.ts'

/** kB of this process's program that are mapped, by /proc/self/smaps. */
function mappedProgram(): number {
  const program = realpathSync(process.execPath)
  const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  const own = mappings.filter(mapping => mapping.split('\n')[0]?.endsWith(program))
  return own.reduce((sum, mapping) => sum + Number(/^Rss:\s+(\d+) kB$/m.exec(mapping)?.[1] ?? 0), 0)
}

test('what a start had mapped of Node.js is given back, and what runs goes on', () => {
  const before = mappedProgram()
  releaseStart()
  const after = mappedProgram()
  expect(before).toBeGreaterThan(0)
  expect(after).toBeLessThan(before * 0.8)
  // Code and data that was not looked at in between.
  expect([3, 1, 2].toSorted()).toEqual([1, 2, 3])
  expect(new Intl.NumberFormat('en').format(1e6)).toBe('1,000,000')
})
