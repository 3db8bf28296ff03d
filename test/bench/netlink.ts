import { randomBytes } from 'node:crypto'
import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { DeviceChange } from '#wg/device/device.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { makeRoute, type Route } from '#wg/rtnetlink/route.ts'
import { RouteNetlink, type RouteOperation } from '#wg/rtnetlink/route-netlink.ts'
import { encodeSetDevice } from '#wg/wireguard/encode.ts'
import { Namespace } from '../host/netlink/namespace.ts'
import { hasWireGuard, kernelBench } from '../kernel/cases/support/kernel-devices.ts'
import { Scratch } from '../unit/cluster/support/scratch.ts'
import { median } from './distribution.ts'
import type { Profile } from './profile.ts'
import { type Row, type Table, told } from './table.ts'

const TABLE = 4_000
const PROTOCOL = 80

interface Step {
  readonly what: string
  readonly tool: string
  readonly podveil: number
  readonly tools: number
  /** Netlink messages that Podveil sends for it. */
  readonly messages: number
}

/** The same kernel work by Podveil's netlink and by the C tools, in turns: peers where this kernel has WireGuard, routes everywhere. */
export async function netlink({ sizes, rounds }: Profile): Promise<Table> {
  const wireguard = await hasWireGuard()
  const rows: Row[] = []
  for (const size of sizes) {
    const measured: Step[][] = []
    for (let round = 0; round < rounds; round++)
      measured.push([...(wireguard ? await peers(size) : []), ...(await routes(size))])
    for (const [at, { what, tool, messages }] of (measured[0] ?? []).entries()) {
      const typical = (side: 'podveil' | 'tools'): number =>
        median(measured.map(steps => steps[at]?.[side] ?? Number.NaN))
      rows.push(
        told({
          what: `${size.toLocaleString('en')} ${what}`,
          'Podveil ms': typical('podveil'),
          tool,
          'tool ms': typical('tools'),
          ratio: typical('podveil') / typical('tools'),
          'our messages': messages,
        }),
      )
    }
  }
  return {
    name: 'netlink',
    title: 'Netlink against the C tools',
    notes: [
      `Medians of ${rounds} rounds. A tool’s time includes its start as a process, which is part of what it costs to use it; Podveil’s does not include that of Node.js, which runs anyway.`,
      ...(wireguard ? [] : ['This kernel has no WireGuard: peers are measured in the VM of the kernel tier.']),
    ],
    rows,
  }
}

async function peers(count: number): Promise<Step[]> {
  await using bench = await kernelBench()
  await using files = await Scratch.make()
  const { devices, namespace } = bench
  const [ours, theirs] = [bench.newName(), bench.newName()]
  for (const name of [ours, theirs]) await devices.create(name)
  const keys = Array.from({ length: count }, () => randomBytes(32).toString('base64') as PublicKey)
  const all: DeviceChange = { privateKey: PrivateKey.generate(), peers: keys.map(setPeer) }
  const one: DeviceChange = { peers: [setPeer(keys[count >> 1] ?? ('' as PublicKey), count + 1)] }
  await files.write('all', configOf(all, true))
  await files.write('one', configOf(one, false))
  const wg = (...args: string[]): string => namespace.run(['wg', ...args])
  const messages = (change: DeviceChange): number => encodeSetDevice({ id: 0, version: 1 }, ours, change).length
  return [
    {
      what: 'peers added',
      tool: 'wg setconf',
      podveil: await timed(() => devices.configure(ours, all)),
      tools: await timed(() => wg('setconf', theirs, `${files.path}/all`)),
      messages: messages(all),
    },
    {
      what: 'peers read',
      tool: 'wg show dump',
      podveil: await timed(() => devices.read(ours)),
      tools: await timed(() => wg('show', theirs, 'dump')),
      messages: 1,
    },
    {
      what: 'peers, one of them changed',
      tool: 'wg addconf',
      podveil: await timed(() => devices.configure(ours, one)),
      tools: await timed(() => wg('addconf', theirs, `${files.path}/one`)),
      messages: messages(one),
    },
  ]
}

type SetPeer = Extract<NonNullable<DeviceChange['peers']>[number], { kind: 'set' }>

function setPeer(publicKey: PublicKey, index: number): SetPeer {
  const [high, low] = [index >>> 8, index & 255]
  return {
    kind: 'set',
    publicKey,
    endpoint: { address: parseAddress(`172.16.${high}.${low}`), port: 51_820 },
    addAllowedIps: [parseCidr(`10.${high}.${low}.0/24`), parseCidr(`172.16.${high}.${low}/32`)],
  }
}

function configOf({ privateKey, peers = [] }: DeviceChange, withDevice: boolean): string {
  const secret = privateKey && Buffer.from(privateKey.reveal()).toString('base64')
  const lines = withDevice ? ['[Interface]', `PrivateKey = ${secret}`] : []
  for (const peer of peers) {
    if (peer.kind !== 'set' || !peer.endpoint) continue
    lines.push('[Peer]', `PublicKey = ${peer.publicKey}`, `AllowedIPs = ${peer.addAllowedIps?.join(', ')}`)
    lines.push(`Endpoint = ${peer.endpoint.address}:${peer.endpoint.port}`)
  }
  return lines.map(line => `${line}\n`).join('')
}

async function routes(count: number): Promise<Step[]> {
  using namespace = new Namespace()
  namespace.addDevice('t0')
  using connection = RouteNetlink.openIn(namespace.path)
  const device = (await connection.link('t0'))?.index ?? 0
  const text = (n: number): string => `10.${n >>> 16}.${(n >>> 8) & 255}.${n & 255}`
  const numbers = [...Array(count).keys()]
  const operations = (op: RouteOperation['op']): RouteOperation[] =>
    numbers.map(n => ({ op, route: route(text(n), device) }))
  const batch = (verb: string): string =>
    numbers.map(n => `route ${verb} ${text(n)}/32 dev t0 table ${TABLE} proto ${PROTOCOL}\n`).join('')
  const apply = async (all: readonly RouteOperation[]): Promise<void> => {
    for (const error of await connection.applyRoutes(all)) if (error !== undefined) throw error
  }
  const ip = (command: string, input?: string): string => namespace.ip(command, input)
  const [adding, deleting, addLines, deleteLines] = [
    operations('replace'),
    operations('delete'),
    batch('replace'),
    batch('del'),
  ]
  const ours = [
    await timed(() => apply(adding)),
    await timed(() => connection.routes({ family: 4, table: TABLE })),
    await timed(() => apply(deleting)),
  ]
  const theirs = [
    await timed(() => ip('-batch -', addLines)),
    await timed(() => ip(`route show table ${TABLE}`)),
    await timed(() => ip('-batch -', deleteLines)),
  ]
  return ['added', 'read', 'deleted'].map((verb, at) => ({
    what: `routes ${verb}`,
    tool: verb === 'read' ? 'ip route show' : 'ip -batch',
    podveil: ours[at] ?? Number.NaN,
    tools: theirs[at] ?? Number.NaN,
    messages: verb === 'read' ? 1 : count,
  }))
}

const route = (address: string, device: number): Route =>
  makeRoute({ table: TABLE, destination: parseCidr(address), type: 'unicast', device, protocol: PROTOCOL })

async function timed(step: () => unknown): Promise<number> {
  const began = performance.now()
  await step()
  return performance.now() - began
}
