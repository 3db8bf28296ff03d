import { setImmediate as settled } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { ApiPlaces } from '#src/agent/api-places.ts'

test.each([
  ['https://10.96.0.1', { address: '10.96.0.1', port: 443 }],
  ['https://10.0.0.7:6443', { address: '10.0.0.7', port: 6443 }],
  ['https://[fd00:96::1]:6443', { address: 'fd00:96::1', port: 6443 }],
])('%s is where it says', (server, place) => {
  expect(new ApiPlaces(new URL(server), () => {}).current(0)).toEqual([place])
})

test('a name is looked up, and what it stands for is told of once', async () => {
  let changes = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  const places = new ApiPlaces(new URL('https://localhost:6443'), () => {
    changes++
    resolve()
  })
  expect(places.current(0)).toEqual([])
  await promise
  expect(places.current(1).map(({ port }) => port)).toContain(6443)
  expect(changes).toBe(1)
})

/** A name that is looked up once for each of the answers. @returns the places after each, and how often it was told that they changed */
async function lookedUp(...answers: readonly (readonly string[])[]) {
  let changes = 0
  const rest = [...answers]
  const resolve = async () => (rest.shift() ?? []).map(address => ({ address }))
  const places = new ApiPlaces(new URL('https://api.example.com'), () => changes++, resolve)
  const seen: string[][] = []
  for (const [minute] of answers.entries()) {
    places.current(minute * 60_000)
    await settled()
    seen.push(places.current(minute * 60_000).map(({ address }) => address))
  }
  return { seen, changes }
}

test('a name whose addresses come in another order each time stands for the same', async () => {
  const { seen, changes } = await lookedUp(['10.0.0.1', '10.0.0.2'], ['10.0.0.2', '10.0.0.1'], ['10.0.0.2', '10.0.0.3'])
  expect(seen).toEqual([
    ['10.0.0.1', '10.0.0.2'],
    ['10.0.0.1', '10.0.0.2'],
    ['10.0.0.2', '10.0.0.3'],
  ])
  expect(changes).toBe(2)
})

test('an address that only a link knows takes none of the others along', async () => {
  expect(await lookedUp(['fe80::1%eth0', '10.0.0.1'])).toEqual({ seen: [['10.0.0.1']], changes: 1 })
})
