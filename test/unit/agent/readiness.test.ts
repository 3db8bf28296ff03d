import { expect, test } from 'vitest'
import { Health, readinessOf } from '#src/agent/health.ts'

function working(): Health {
  const health = new Health(() => 0)
  health.set('agent', undefined)
  return health
}

const blocked = [{ node: 'node-2', state: 'clear', reason: 'IPv4: no handshake yet' } as const]

test('an agent that does its work is ready, whatever its peers do', () => {
  const health = working()
  expect(readinessOf('agent', health, () => blocked)()).toMatchObject({ status: 200 })
})

test('where readiness stands for encryption, a peer in clear makes it unready, and says which', () => {
  const health = working()
  expect(readinessOf('encrypted', health, () => blocked)()).toMatchObject({
    status: 503,
    body: 'in clear: node-2: IPv4: no handshake yet\n',
  })
  expect(readinessOf('encrypted', health, () => [])()).toMatchObject({ status: 200 })
})

test('an agent in trouble is unready by either policy', () => {
  const health = working()
  health.set('cluster', 'the API server has not been read yet')
  for (const policy of ['agent', 'encrypted'] as const)
    expect(readinessOf(policy, health, () => [])()).toMatchObject({ status: 503 })
})
