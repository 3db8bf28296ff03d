import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { KernelFamily, NodeKernel } from '#src/status/node-kernel.ts'
import type { FamilySnapshot, NodeSnapshot, PeerSnapshot } from '#src/status/snapshot.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { makeRoute, type Route } from '#wg/rtnetlink/route.ts'
import { makeRule } from '#wg/rtnetlink/rule.ts'

/** The moment at which everything here is looked at. */
export const NOW = Date.parse('2026-03-01T12:00:00Z')
export const ago = (seconds: number): string => new Date(NOW - seconds * 1000).toISOString()

export const keyOf = (index: number): PublicKey => PrivateKey.fromBytes(new Uint8Array(32).fill(index * 16)).publicKey()

export const peer = (index: number, changes: Partial<PeerSnapshot> = {}): PeerSnapshot => ({
  node: `node-${index}`,
  phase: 'encrypting',
  since: ago(300),
  reason: 'its hello says that it accepts all that we publish',
  publicKey: keyOf(index),
  candidate: null,
  addresses: [`10.200.0.${index}`],
  podCidrs: [`10.244.${index}.0/24`],
  endpoint: `10.200.0.${index}:51820`,
  latestHandshake: ago(60),
  rxBytes: 2048,
  txBytes: 1024,
  allowedIps: [`10.244.${index}.0/24`, `10.200.0.${index}/32`],
  steered: [`10.244.${index}.0/24`, `10.200.0.${index}/32`],
  silentSince: null,
  echo: null,
  pathMtu: null,
  ...changes,
})

export const family4 = (changes: Partial<FamilySnapshot> = {}): FamilySnapshot => ({
  family: 4,
  enabled: true,
  interfaceName: 'wireguard.cali',
  device: { name: 'wireguard.cali', publicKey: keyOf(1), port: 51820, address: '10.244.1.1', mtu: 1440 },
  rulePriority: 99,
  mark: 0x200000,
  tables: { mesh: 1, nodes: 2, device: 3 },
  peers: [peer(2), peer(3)],
  refused: [],
  desired: null,
  ...changes,
})

/** node-1 of three, all encrypted. */
export const snapshot = (changes: Partial<NodeSnapshot> = {}): NodeSnapshot => ({
  format: 1,
  podveil: '0.1.0',
  node: 'node-1',
  time: ago(5),
  addresses: ['10.200.0.1'],
  podCidrs: ['10.244.1.0/24'],
  dataplane: 'kernel',
  settings: {
    wireguardEnabled: true,
    wireguardEnabledV6: false,
    wireguardRoutingRulePriority: 99,
    routeSource: 'CalicoIPAM',
  },
  guard: { mode: 'audit', refusals: [] },
  troubles: [],
  refusedSettings: [],
  families: [family4()],
  repairs: { total: 0, recent: [] },
  ...changes,
})

const DEVICE = 7
const UNDERLAY = 2

const kernelPeer = (index: number): PeerStatus => ({
  publicKey: keyOf(index),
  endpoint: { address: parseAddress(`10.200.0.${index}`), port: 51820 },
  allowedIps: new Set([parseCidr(`10.244.${index}.0/24`), parseCidr(`10.200.0.${index}/32`)]),
  persistentKeepalive: 0,
  latestHandshake: BigInt(NOW - 60_000) * 1_000_000n,
  rxBytes: 2048n,
  txBytes: 1024n,
})

const into = (table: number, destination: string): Route =>
  makeRoute({ table, destination: parseCidr(destination), type: 'unicast', device: DEVICE, protocol: 3 })

/** What the kernel of that node-1 holds. */
export function kernelFamily(changes: Partial<KernelFamily> = {}): KernelFamily {
  const rule = { family: 4 as const }
  return {
    family: 4,
    link: {
      index: DEVICE,
      name: 'wireguard.cali',
      kind: 'wireguard',
      mtu: 1440,
      up: true,
      lowerUp: true,
      operState: 'unknown',
    },
    addresses: [parseAddress('10.244.1.1')],
    device: {
      name: 'wireguard.cali',
      publicKey: keyOf(1),
      listenPort: 51820,
      fwmark: 0x200000,
      peers: new Map([2, 3].map(index => [keyOf(index), kernelPeer(index)])),
    },
    rules: [
      makeRule({ ...rule, priority: 0, table: 255 }),
      makeRule({ ...rule, priority: 98, table: 3, oif: 'wireguard.cali' }),
      makeRule({ ...rule, priority: 99, table: 1, invert: true, fwmark: 0x200000, fwmask: 0x200000 }),
      makeRule({ ...rule, priority: 100, table: 2, source: parseCidr('10.244.1.0/24'), fwmark: 0, fwmask: 0x200000 }),
      makeRule({ ...rule, priority: 100, table: 2, iif: 'wireguard.cali', fwmark: 0x200000, fwmask: 0x200000 }),
      makeRule({ ...rule, priority: 32766, table: 254 }),
    ],
    routes: new Map([
      [
        1,
        [
          makeRoute({ table: 1, destination: parseCidr('10.244.1.0/24'), type: 'throw', protocol: 3 }),
          into(1, '10.244.2.0/24'),
          into(1, '10.244.3.0/24'),
        ],
      ],
      [2, [into(2, '10.200.0.2/32'), into(2, '10.200.0.3/32')]],
      [3, [into(3, '0.0.0.0/0')]],
      [
        254,
        [
          makeRoute({
            table: 254,
            destination: parseCidr('0.0.0.0/0'),
            type: 'unicast',
            device: UNDERLAY,
            gateway: parseAddress('10.200.0.254'),
            protocol: 3,
          }),
        ],
      ],
    ]),
    ...changes,
  }
}

export const kernel = (changes: Partial<KernelFamily> = {}): NodeKernel => ({
  kind: 'kernel',
  links: new Map([
    [1, 'lo'],
    [UNDERLAY, 'eth0'],
    [DEVICE, 'wireguard.cali'],
  ]),
  families: {
    4: kernelFamily(changes),
    6: { family: 6, device: undefined, link: undefined, addresses: [], rules: [], routes: new Map() },
  },
})

/** The routes without one destination of the mesh's table. */
export function withoutRoute(destination: string): Partial<KernelFamily> {
  const routes = new Map(kernelFamily().routes)
  routes.set(
    1,
    (routes.get(1) ?? []).filter(route => route.destination !== destination),
  )
  return { routes }
}

export const withoutRule = (priority: number): Partial<KernelFamily> => ({
  rules: kernelFamily().rules.filter(rule => rule.priority !== priority),
})

const SPARE = 9

/** The pair with node-2 is on the spare devices, as while one of the two replaces its key. */
export function onSpare(): Partial<KernelFamily> {
  const { link, device, routes } = kernelFamily()
  if (!link || !device) throw new Error('no device')
  const peers = new Map([
    [keyOf(2), { ...kernelPeer(2), endpoint: { address: parseAddress('10.200.0.2'), port: 51822 } }],
  ])
  const moved = (routes.get(1) ?? []).map(route =>
    route.destination === '10.244.2.0/24' ? makeRoute({ ...route, device: SPARE }) : route,
  )
  return {
    device: { ...device, peers: new Map([...device.peers].filter(([key]) => key !== keyOf(2))) },
    routes: new Map([...routes, [1, moved]]),
    spare: {
      link: { ...link, index: SPARE, name: 'wg-spare.cali' },
      device: { ...device, name: 'wg-spare.cali', listenPort: 51822, peers },
    },
  }
}
