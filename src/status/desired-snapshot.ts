import { type PublicKey, parsePublicKey } from '#keys/public-key.ts'
import { isObject, type JsonObject, listOf, member, objectOf, textOf } from '#src/cluster/hostile.ts'
import { few } from '#wg/few.ts'
import { formatEndpoint, parseAddress, parseCidr, parseEndpoint } from '#wg/ip.ts'
import type { DesiredDevice, DesiredFamily, DesiredPeer, DesiredRoute, DesiredRule } from '#wg/reconcile/desired.ts'
import type { Told } from './json-steps.ts'

/** What the agent wants the kernel to hold of one family, as its snapshot has it; private keys are not in it. */
export interface DesiredSnapshot extends DesiredTunnel {
  /** The second device, there while a main one changes; null for none, absent from agents that did not say. */
  readonly spare?: DesiredTunnel | null
  readonly routes: readonly DesiredRoute[]
  readonly rules: readonly DesiredRule[]
  readonly routeProtocol: number
}

/** A WireGuard device with its peers. */
export interface DesiredTunnel {
  readonly device: {
    readonly name: string
    readonly publicKey: string
    readonly listenPort: number
    readonly fwmark: number
    readonly mtu: number
    readonly addresses: readonly string[]
  }
  readonly peers: readonly {
    readonly publicKey: string
    readonly endpoint: string | null
    /** Null: wherever the peer's handshake comes from. */
    readonly mayRoamTo: readonly string[] | null
    readonly allowedIps: readonly string[]
    readonly persistentKeepalive: number
  }[]
}

/** The same, to compare with a kernel. */
export interface DesiredKernel extends Pick<DesiredSnapshot, 'routes' | 'rules' | 'routeProtocol'>, TunnelKernel {
  readonly spare: TunnelKernel | null | undefined
}

export interface TunnelKernel {
  readonly device: DesiredTunnel['device']
  readonly peers: DesiredDevice['peers']
}

/** @returns of this moment; null where nothing of the family is to be in the kernel */
export function desiredSnapshot(desired: DesiredFamily | undefined): Told<DesiredSnapshot> | null {
  const [device, spare] = desired?.devices ?? []
  if (!desired || !device) return null
  const { routes, rules, routeProtocol } = desired
  return {
    ...tunnelSnapshot(device),
    spare: spare ? tunnelSnapshot(spare) : null,
    routes: [...routes.values()].values(),
    rules,
    routeProtocol,
  }
}

function tunnelSnapshot(device: DesiredDevice): Told<DesiredTunnel> {
  const { name, listenPort, fwmark, mtu } = device
  const peers = [...device.peers]
  return {
    device: {
      name,
      publicKey: device.privateKey.publicKey(),
      listenPort,
      fwmark,
      mtu,
      addresses: [...device.addresses],
    },
    peers: peers.values().map(([publicKey, peer]) => ({
      publicKey,
      endpoint: peer.endpoint ? formatEndpoint(peer.endpoint) : null,
      mayRoamTo: peer.mayRoamTo === 'anywhere' ? null : [...peer.mayRoamTo],
      allowedIps: [...peer.allowedIps],
      persistentKeepalive: peer.persistentKeepalive,
    })),
  }
}

/** @returns null where there is none; agents before this one wrote none @throws Error of whatever parser found something malformed */
export function parseDesired(raw: unknown): DesiredSnapshot | null {
  if (!isObject(raw)) return null
  const spare = member(raw, 'spare')
  return {
    ...parseTunnel(raw),
    ...(spare !== undefined && { spare: isObject(spare) ? parseTunnel(spare) : null }),
    routes: objects(raw, 'routes').map(parseRoute),
    rules: objects(raw, 'rules').map(parseRule),
    routeProtocol: number(raw, 'routeProtocol'),
  }
}

function parseTunnel(raw: JsonObject): DesiredTunnel {
  const device = objectOf(member(raw, 'device'))
  return {
    device: {
      name: text(device, 'name'),
      publicKey: parsePublicKey(text(device, 'publicKey')),
      listenPort: number(device, 'listenPort'),
      fwmark: number(device, 'fwmark'),
      mtu: number(device, 'mtu'),
      addresses: texts(device, 'addresses'),
    },
    peers: objects(raw, 'peers').map(peer => ({
      publicKey: parsePublicKey(text(peer, 'publicKey')),
      endpoint: textOf(member(peer, 'endpoint'), 64) ?? null,
      mayRoamTo: Array.isArray(member(peer, 'mayRoamTo')) ? texts(peer, 'mayRoamTo') : null,
      allowedIps: texts(peer, 'allowedIps'),
      persistentKeepalive: number(peer, 'persistentKeepalive'),
    })),
  }
}

/** @throws Error of whatever parser found something malformed */
export function desiredKernel({ spare, routes, rules, routeProtocol, ...main }: DesiredSnapshot): DesiredKernel {
  return { ...tunnelKernel(main), spare: spare && tunnelKernel(spare), routes, rules, routeProtocol }
}

function tunnelKernel({ device, peers }: DesiredTunnel): TunnelKernel {
  const parsed = peers.map((peer): [PublicKey, DesiredPeer] => [
    parsePublicKey(peer.publicKey),
    {
      endpoint: peer.endpoint === null ? undefined : parseEndpoint(peer.endpoint),
      mayRoamTo: peer.mayRoamTo === null ? 'anywhere' : few(peer.mayRoamTo.map(parseAddress)),
      allowedIps: new Set(peer.allowedIps.map(parseCidr)),
      persistentKeepalive: peer.persistentKeepalive,
    },
  ])
  return { device, peers: new Map(parsed) }
}

function parseRoute(raw: JsonObject): DesiredRoute {
  const mtu = member(raw, 'mtu')
  const to = { table: number(raw, 'table'), destination: parseCidr(text(raw, 'destination')) }
  if (text(raw, 'type') === 'throw') return { ...to, type: 'throw' }
  const source = textOf(member(raw, 'source'), 64)
  return {
    ...{ ...to, type: 'unicast', device: text(raw, 'device') },
    ...(typeof mtu === 'number' && { mtu }),
    ...(source !== undefined && { source: parseAddress(source) }),
  }
}

function parseRule(raw: JsonObject): DesiredRule {
  const source = textOf(member(raw, 'source'), 64)
  const inputInterface = textOf(member(raw, 'inputInterface'), 64)
  return {
    priority: number(raw, 'priority'),
    table: number(raw, 'table'),
    invert: member(raw, 'invert') === true,
    fwmark: number(raw, 'fwmark'),
    fwmask: number(raw, 'fwmask'),
    source: source === undefined ? undefined : parseCidr(source),
    outputInterface: textOf(member(raw, 'outputInterface'), 64),
    ...(inputInterface !== undefined && { inputInterface }),
  }
}

function text(object: JsonObject, name: string): string {
  const value = textOf(member(object, name), 256)
  if (value === undefined) throw new Error(`has no usable ${name} in what is desired`)
  return value
}

function number(object: JsonObject, name: string): number {
  const value = member(object, name)
  if (typeof value !== 'number' || !(value >= 0)) throw new Error(`has no usable ${name} in what is desired`)
  return value
}

const texts = (object: JsonObject, name: string): string[] =>
  listOf(member(object, name)).flatMap(value => textOf(value, 256) ?? [])

const objects = (object: JsonObject, name: string): JsonObject[] => listOf(member(object, name)).map(objectOf)
