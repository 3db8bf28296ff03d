import { describe, expect, test } from 'vitest'
import type { DesiredSnapshot } from '#src/status/desired-snapshot.ts'
import { kernelDiff } from '#src/status/kernel-diff.ts'
import { parseSnapshot } from '#src/status/snapshot.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import type { DesiredRoute } from '#wg/reconcile/desired.ts'
import { makeRoute } from '#wg/rtnetlink/route.ts'
import {
  family4,
  kernel,
  kernelFamily,
  keyOf,
  onSpare,
  snapshot,
  withoutRoute,
  withoutRule,
} from './support/snapshots.ts'

const route = (table: number, destination: string, type: 'unicast' | 'throw' = 'unicast'): DesiredRoute => {
  const to = { table, destination: parseCidr(destination) }
  return type === 'throw' ? { ...to, type } : { ...to, type, device: 'wireguard.cali' }
}

const wanted = (index: number): DesiredSnapshot['peers'][number] => ({
  publicKey: keyOf(index),
  endpoint: `10.200.0.${index}:51820`,
  mayRoamTo: [`10.200.0.${index}`],
  allowedIps: [`10.244.${index}.0/24`, `10.200.0.${index}/32`],
  persistentKeepalive: 0,
})

/** What the agent of node-1 wants, which is what that kernel holds. */
const DESIRED: DesiredSnapshot = {
  device: {
    name: 'wireguard.cali',
    publicKey: keyOf(1),
    listenPort: 51820,
    fwmark: 0x200000,
    mtu: 1440,
    addresses: ['10.244.1.1'],
  },
  peers: [wanted(2), wanted(3)],
  routes: [
    route(1, '10.244.1.0/24', 'throw'),
    ...[2, 3].flatMap(index => [route(1, `10.244.${index}.0/24`), route(2, `10.200.0.${index}/32`)]),
    route(3, '0.0.0.0/0'),
  ],
  rules: [
    {
      priority: 98,
      table: 3,
      invert: false,
      fwmark: 0,
      fwmask: 0,
      source: undefined,
      outputInterface: 'wireguard.cali',
    },
    {
      priority: 99,
      table: 1,
      invert: true,
      fwmark: 0x200000,
      fwmask: 0x200000,
      source: undefined,
      outputInterface: undefined,
    },
    {
      priority: 100,
      table: 2,
      invert: false,
      fwmark: 0,
      fwmask: 0x200000,
      source: parseCidr('10.244.1.0/24'),
      outputInterface: undefined,
    },
    {
      priority: 100,
      table: 2,
      invert: false,
      fwmark: 0x200000,
      fwmask: 0x200000,
      source: undefined,
      outputInterface: undefined,
      inputInterface: 'wireguard.cali',
    },
  ],
  routeProtocol: 3,
}

const told = (desired: DesiredSnapshot | null = DESIRED) =>
  // Through its file, as the command reads it.
  parseSnapshot(JSON.stringify(snapshot({ families: [family4({ desired })] })))

const lines = (...args: Parameters<typeof kernelDiff>) => kernelDiff(...args).map(({ op, what }) => `${op} ${what}`)

test('a kernel that holds what it should differs in nothing', () => {
  expect(lines(told(), kernel())).toEqual([])
})

test.each([
  ['a route that is gone', withoutRoute('10.244.2.0/24'), 'add route 10.244.2.0/24 dev wireguard.cali table 1'],
  ['a rule that is gone', withoutRule(99), 'add rule 99: not from all fwmark 0x200000/0x200000 lookup 1'],
  [
    'an address that somebody added',
    { addresses: [parseAddress('10.244.1.1'), parseAddress('10.9.9.9')] },
    'remove address 10.9.9.9 of wireguard.cali',
  ],
])('%s', (_, changes, line) => {
  expect(lines(told(), kernel(changes))).toEqual([line])
})

test('peers by their names, what they take and what they give up', () => {
  const { device } = kernelFamily()
  const stranger = {
    ...device?.peers.get(keyOf(2)),
    publicKey: keyOf(9),
    allowedIps: new Set([parseCidr('10.99.0.0/16')]),
  }
  const half = {
    ...device?.peers.get(keyOf(2)),
    allowedIps: new Set([parseCidr('10.244.2.0/24'), parseCidr('10.98.0.0/16')]),
  }
  const peers = new Map([
    [keyOf(2), half],
    [keyOf(9), stranger],
  ])
  expect(lines(told(), kernel({ device: { ...device, peers } as typeof device }))).toEqual([
    'change peer node-2: takes 10.200.0.2/32',
    'add peer node-3: endpoint 10.200.0.3:51820, takes 10.244.3.0/24 10.200.0.3/32',
    'change peer node-2: gives up 10.98.0.0/16',
    `remove peer ${keyOf(9).slice(0, 8)}`,
  ])
})

test('a device that is gone is made first, and one that is not wanted goes with all that is ours', () => {
  const gone = { device: undefined, link: undefined, addresses: [], rules: [], routes: new Map() }
  expect(lines(told(), kernel(gone))[0]).toBe('add device wireguard.cali, its key, MTU 1440, addresses 10.244.1.1')
  expect(lines(told(null), kernel()).at(-1)).toBe('remove device wireguard.cali, with its peers and routes')
  expect(lines(told(null), kernel(gone))).toEqual([])
})

test('what is not in our tables is nobody’s difference', () => {
  const foreign = makeRoute({
    table: 254,
    destination: parseCidr('10.7.0.0/16'),
    type: 'unicast',
    device: 2,
    protocol: 4,
  })
  const routes = new Map(kernelFamily().routes)
  routes.set(254, [...(routes.get(254) ?? []), foreign])
  expect(lines(told(), kernel({ routes }))).toEqual([])
})

const SPARE = {
  device: { ...DESIRED.device, name: 'wg-spare.cali', listenPort: 51822 },
  peers: [{ ...wanted(2), endpoint: '10.200.0.2:51822' }],
}
/** While the pair with node-2 is on the spare devices. */
const MOVED: DesiredSnapshot = {
  ...DESIRED,
  peers: [wanted(3)],
  spare: SPARE,
  routes: DESIRED.routes.map(route =>
    route.table === 1 && route.destination === '10.244.2.0/24' && route.type === 'unicast'
      ? { ...route, device: 'wg-spare.cali' }
      : route,
  ),
}

describe('the spare device', () => {
  const spare = () => {
    const { spare } = onSpare()
    if (!spare) throw new Error('no spare device')
    return spare
  }
  const onKernel = (changes: Partial<ReturnType<typeof spare>> = {}) =>
    kernel({ ...onSpare(), spare: { ...spare(), ...changes } })
  const links = new Map([...onKernel().links, [spare().link.index, 'wg-spare.cali']])
  const differences = (desired: DesiredSnapshot, held: ReturnType<typeof onKernel>) =>
    lines(told(desired), { ...held, links })

  test('that holds what it should differs in nothing', () => {
    expect(differences(MOVED, onKernel())).toEqual([])
  })

  test('has its peers looked at: one that is gone, and one that is a stranger', () => {
    const { device } = spare()
    const stranger = { ...device.peers.get(keyOf(2)), publicKey: keyOf(9) }
    const peers = new Map([[keyOf(9), stranger]]) as typeof device.peers
    expect(differences(MOVED, onKernel({ device: { ...device, peers } }))).toEqual([
      'add peer node-2: endpoint 10.200.0.2:51822, takes 10.244.2.0/24 10.200.0.2/32',
      `remove peer ${keyOf(9).slice(0, 8)}`,
    ])
  })

  test('that is not there yet is made, and one that nobody wants any more goes', () => {
    const { spare: _, ...gone } = onKernel().families[4]
    const without = { ...onKernel(), families: { ...onKernel().families, 4: gone } }
    expect(differences(MOVED, without)[0]).toBe('add device wg-spare.cali, its key, MTU 1440, addresses 10.244.1.1')
    expect(differences({ ...MOVED, spare: null }, onKernel())).toEqual(['remove device wg-spare.cali, with its peers'])
  })

  test('of which an agent of before says nothing is nobody’s difference', () => {
    const { spare: _, ...silent } = MOVED
    expect(differences(silent, onKernel())).toEqual([])
  })
})
