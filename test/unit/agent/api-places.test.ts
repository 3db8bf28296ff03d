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
