import { expect, test } from 'vitest'
import { routedPaths } from '#src/agent/routed-paths.ts'
import { type Cidr, parseCidr } from '#wg/ip.ts'
import { encrypting, kernelPeer, node } from './peers.ts'

const PODS = parseCidr('10.244.2.0/24')
const MORE = parseCidr('10.244.3.0/24')

const states = new Map([[node(2), encrypting(2, 0)]])
const [key, peer] = kernelPeer(2, 0, 0)
const peers = new Map([[key, { ...peer, allowedIps: new Set([PODS, MORE]) }]])

const found = (mtus: readonly (readonly [Cidr, number])[]) => [...routedPaths(states, peers, new Map(mtus))]

test('the path to a node has the smallest MTU of the routes to it', () => {
  expect(found([[PODS, 1300]])).toEqual([[node(2), 1300]])
  expect(
    found([
      [PODS, 1300],
      [MORE, 1280],
    ]),
  ).toEqual([[node(2), 1280]])
})

test('routes without an MTU, and those to nobody’s addresses, say nothing', () => {
  expect(found([])).toEqual([])
  expect(found([[parseCidr('10.244.9.0/24'), 1300]])).toEqual([])
})

test('a peer that the device does not have has no path', () => {
  expect([...routedPaths(states, new Map(), new Map([[PODS, 1300]]))]).toEqual([])
})
