import { describe, expect, test } from 'vitest'
import { obstacle, rivals, type Surroundings } from '#src/mesh/obstacles.ts'
import type { OtherRule } from '#wg/reconcile/desired.ts'
import { announcement, nodeRecord, publicKey } from './records.ts'
import { CONFIG } from './world.ts'

const FELIX = announcement(9, { hello: undefined, port: undefined })
const felixNode = nodeRecord(1, { announced: { 4: FELIX, 6: undefined } })

/** A node where nothing is in the way, unless told otherwise. */
const around = (fields: Partial<Surroundings> = {}): Surroundings => ({
  family: 4,
  config: { ...CONFIG, interfaceName: 'wireguard.cali' },
  own: nodeRecord(1),
  ownKey: publicKey(1),
  deviceKey: undefined,
  links: new Set(['lo', 'eth0']),
  rules: [],
  routes: [],
  ...fields,
})

describe('Felix on the same node', () => {
  test('is found by its key on the Node and on the device of our name, and the remedy is told', () => {
    const sentence = obstacle(around({ own: felixNode, deviceKey: publicKey(9) }))
    expect(sentence).toMatch(
      /^Felix encrypts IPv4 on this node itself \(wireguard\.cali\): set FELIX_WIREGUARDENABLED=false/,
    )
  })

  test('is found beside names of our own by its key on the Node and a device of its name', () => {
    const config = { ...CONFIG, interfaceName: 'podveil4' }
    expect(obstacle(around({ config, own: felixNode, links: new Set(['wireguard.cali']) }))).toContain(
      '(wireguard.cali)',
    )
    expect(obstacle(around({ config, own: felixNode }))).toBeUndefined()
  })

  test.each([
    ['our own key on the device, as after a restart', around({ deviceKey: publicKey(1) })],
    ['a key that is left over from an earlier agent', around({ ownKey: publicKey(5), deviceKey: publicKey(1) })],
    [
      'a device of an earlier agent whose annotation is gone',
      around({ own: nodeRecord(1, { announced: { 4: undefined, 6: undefined } }), deviceKey: publicKey(7) }),
    ],
    ['a Node that says nothing', around({ own: undefined })],
  ])('is not taken for %s', (_, surroundings) => expect(obstacle(surroundings)).toBeUndefined())
})

test('a table with routes that lead elsewhere is left alone', () => {
  const route = { table: 2, words: 'unicast 10.9.0.0/16 by device 7' }
  expect(obstacle(around({ routes: [route] }))).toMatch(/table 2 is in use.*10\.9\.0\.0\/16.*routeTableRanges/)
})

describe('rules of others', () => {
  const told = (fields: Partial<OtherRule>) =>
    rivals(around({ rules: [{ priority: 5_000, invert: false, fwmark: 0, words: 'a rule', ...fields }] })).join()

  test.each([-1, 0, 1])('are told at our priority and the two that are ours as well (%d)', distance => {
    expect(told({ priority: CONFIG.rulePriority + distance })).toContain('wireguardRoutingRulePriority')
  })

  test('are told when they match our mark', () => {
    expect(told({ fwmark: CONFIG.mark })).toContain('iptablesMarkMask')
  })

  test('are nobody’s business elsewhere, or with another mark', () => {
    expect(told({})).toBe('')
    expect(told({ fwmark: 0x80000 })).toBe('')
  })
})
