import { expect, it } from 'vitest'
import { Health } from '#src/agent/health.ts'

it('is not ready before the first pass has ended, whatever else is well by then', () => {
  const health = new Health(() => 0)
  health.set('cluster', undefined)
  expect(health.readyz()).toMatchObject({ status: 503 })
  health.set('agent', undefined)
  expect(health.readyz()).toMatchObject({ status: 200 })
})

it('is not ready while anything is missing, and says what', () => {
  const health = new Health(() => 0)
  health.set('agent', undefined)
  health.set('IPv4', 'no WireGuard')
  health.set('IPv6', 'no address')
  expect(health.readyz().body.trim()).toBe('IPv4: no WireGuard\nIPv6: no address')
})

it('is alive as long as passes end', () => {
  let idle = 1_000
  const health = new Health(() => idle)
  expect(health.livez().status).toBe(200)
  idle = 300_000
  expect(health.livez()).toMatchObject({ status: 503, body: expect.stringContaining('300 s') })
})
