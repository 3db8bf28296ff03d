import { fingerprint, type PublicKey } from '#keys/public-key.ts'
import type { PeerChange } from '#wg/device/device.ts'
import { formatEndpoint } from '#wg/ip.ts'
import { diffPeers } from '#wg/reconcile/peers.ts'
import { diffRoutes, diffRules, routeOf, ruleOf } from '#wg/reconcile/routes.ts'
import { routeSlot } from '#wg/rtnetlink/route.ts'
import { desiredKernel, type TunnelKernel } from './desired-snapshot.ts'
import { routeText, ruleText } from './kernel-text.ts'
import type { KernelFamily, NodeKernel } from './node-kernel.ts'
import type { FamilySnapshot, NodeSnapshot } from './snapshot.ts'

/** One thing that the agent would do to the kernel. */
export interface KernelChange {
  /** Null for what is of both families, as the nftables table is. */
  readonly family: 4 | 6 | null
  readonly op: 'add' | 'change' | 'remove'
  readonly what: string
}

/** What the agent would do to this kernel now, in its order. Nothing is written. @throws Error where the snapshot is malformed */
export function kernelDiff(snapshot: NodeSnapshot, kernel: NodeKernel): KernelChange[] {
  return snapshot.families.flatMap(family => familyDiff(family, kernel.families[family.family], kernel.links, snapshot))
}

function familyDiff(
  told: FamilySnapshot,
  kernel: KernelFamily,
  links: ReadonlyMap<number, string>,
  snapshot: NodeSnapshot,
): KernelChange[] {
  const change = (op: KernelChange['op'], what: string): KernelChange => ({ family: told.family, op, what })
  const tables = new Set(Object.values(told.tables))
  const rules = kernel.rules.filter(({ table, action }) => action === 'lookup' && tables.has(table))
  if (!told.desired) {
    const devices = [kernel.device, kernel.spare?.device].filter(device => device !== undefined)
    if (devices.length === 0) return []
    return [
      ...rules.map(rule => change('remove', `rule ${ruleText(rule)}`)),
      ...devices.map(({ name }) => change('remove', `device ${name}, with its peers and routes`)),
    ]
  }
  const desired = desiredKernel(told.desired)
  const { device, spare } = desired
  const index = kernel.link?.index ?? 0
  const names = nodeNames(told, snapshot)
  const tunnels = [
    tunnelChanges(desired, kernel, names),
    ...(spare ? [tunnelChanges(spare, kernel.spare ?? NONE, names)] : []),
  ]
  const leftOver = spare === null && kernel.spare ? [`device ${kernel.spare.link.name}, with its peers`] : []
  const present = [...kernel.routes].filter(([table]) => tables.has(table)).flatMap(([, routes]) => routes)
  const indexes = new Map([...links].map(([link, name]) => [name, link]))
  const indexOf = (name: string) => (name === device.name ? index : (indexes.get(name) ?? 0))
  const routes = diffRoutes(
    desired.routes.map(route => routeOf(route, indexOf, desired.routeProtocol)),
    new Map(present.map(route => [routeSlot(route), route])),
  )
  const ruleChanges = diffRules(
    desired.rules.map(rule => ruleOf(told.family, rule)),
    rules,
  )
  // A device that is yet to be made has no index.
  const named = new Map([...links, [index, device.name]])
  return [
    ...tunnels.flatMap(({ first }) => first).map(([op, what]) => change(op, what)),
    ...routes.missing.map(route => change('add', `route ${routeText(route, named)}`)),
    ...ruleChanges.missing.map(rule => change('add', `rule ${ruleText(rule)}`)),
    ...ruleChanges.surplus.map(rule => change('remove', `rule ${ruleText(rule)}`)),
    ...routes.surplus.map(route => change('remove', `route ${routeText(route, named)}`)),
    ...tunnels.flatMap(({ last }) => last).map(([op, what]) => change(op, what)),
    ...leftOver.map(what => change('remove', what)),
  ]
}

type Line = readonly [KernelChange['op'], string]

/** A device as it is; nothing of it where it is not there. */
interface HeldTunnel extends Pick<KernelFamily, 'device' | 'link'> {
  /** Undefined where they were not read. */
  readonly addresses?: KernelFamily['addresses']
}

const NONE: HeldTunnel = { device: undefined, link: undefined }

/** A device and its peers: what comes before routes lead there, and what goes when none does any more. */
function tunnelChanges(
  wanted: TunnelKernel,
  held: HeldTunnel,
  names: ReadonlyMap<string, string>,
): { readonly first: Line[]; readonly last: Line[] } {
  const present = held.device?.peers ?? new Map()
  const { additions, removals } = diffPeers(wanted.peers, present, new Map())
  const added = additions.map((one): Line => [present.has(one.publicKey) ? 'change' : 'add', peerText(one, names)])
  const removed = removals.map((one): Line => [one.kind === 'remove' ? 'remove' : 'change', peerText(one, names)])
  return { first: [...deviceChanges(wanted, held), ...added], last: removed }
}

function deviceChanges({ device }: TunnelKernel, { link, device: held, addresses }: HeldTunnel): Line[] {
  const { name } = device
  if (!link || !held)
    return [['add', `device ${name}, its key, MTU ${device.mtu}, addresses ${device.addresses.join(' ')}`]]
  const differs: [boolean, string][] = [
    [held.publicKey !== device.publicKey, `key of ${name}`],
    [held.listenPort !== device.listenPort, `port of ${name}: ${held.listenPort} to ${device.listenPort}`],
    [
      held.fwmark !== device.fwmark,
      `mark of ${name}: 0x${held.fwmark.toString(16)} to 0x${device.fwmark.toString(16)}`,
    ],
    [link.mtu !== device.mtu, `MTU of ${name}: ${link.mtu} to ${device.mtu}`],
    [!link.up, `${name} is down: up`],
  ]
  const own = (addresses ?? device.addresses).filter(address => !/^fe[89ab]/.test(address))
  return [
    ...differs.flatMap(([yes, what]): Line[] => (yes ? [['change', what]] : [])),
    ...device.addresses
      .filter(address => !own.some(held => held === address))
      .map((address): Line => ['add', `address ${address} of ${name}`]),
    ...own
      .filter(address => !device.addresses.includes(address))
      .map((address): Line => ['remove', `address ${address} of ${name}`]),
  ]
}

function peerText(change: PeerChange, names: ReadonlyMap<string, string>): string {
  const who = `peer ${names.get(change.publicKey) ?? fingerprint(change.publicKey)}`
  if (change.kind === 'remove') return who
  const parts = [
    change.endpoint && `endpoint ${formatEndpoint(change.endpoint)}`,
    change.persistentKeepalive !== undefined && `keepalive ${change.persistentKeepalive} s`,
    change.addAllowedIps?.length && `takes ${change.addAllowedIps.join(' ')}`,
    change.removeAllowedIps?.length && `gives up ${change.removeAllowedIps.join(' ')}`,
  ]
  return `${who}: ${parts.filter(Boolean).join(', ')}`
}

function nodeNames({ peers }: FamilySnapshot, { node, families }: NodeSnapshot): Map<string, string> {
  const names = new Map<string, string>()
  for (const { device } of families) if (device) names.set(device.publicKey as PublicKey, node)
  for (const peer of peers) if (peer.publicKey !== null) names.set(peer.publicKey, peer.node)
  return names
}
