import { expect, test } from 'vitest'
import { planLab } from '#src/lab/plan.ts'
import { defaultRate } from '#src/lab/traffic.ts'

test.each([
  [1, 'dual', 200],
  [3, 'dual', 200],
  [10, '4', 50],
  [10, 'dual', 25],
  [100, 'dual', 1],
] as const)('%d nodes (families: %s) are sent %d datagrams a second for each flow', (nodes, families, rate) => {
  expect(defaultRate(planLab('a', nodes, families))).toBe(rate)
})
