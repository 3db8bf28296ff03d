import { fingerprint, type PublicKey } from '#keys/public-key.ts'
import type { PeerChange } from '#wg/device/device.ts'
import { formatEndpoint } from '#wg/ip.ts'
import { diffPeers } from '#wg/reconcile/peers.ts'
import { diffRoutes, diffRules, routeOf, ruleOf } from '#wg/reconcile/routes.ts'
import { routeSlot } from '#wg/rtnetlink/route.ts'
import { type DesiredKernel, desiredKernel } from './desired-snapshot.ts'
import { routeText, ruleText } from './kernel-text.ts'
import type { KernelFamily, NodeKernel } from './node-kernel.ts'
import type { FamilySnapshot, NodeSnapshot } from './snapshot.ts'

/** One thing that the agent would do to the kernel. */
export interface KernelChange {
  readonly family: 4 | 6
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
    if (!kernel.device) return []
    return [
      ...rules.map(rule => change('remove', `rule ${ruleText(rule)}`)),
      change('remove', `device ${kernel.device.name}, with its peers and routes`),
    ]
  }
  const desired = desiredKernel(told.desired)
  const { device } = desired
  const index = kernel.link?.index ?? 0
  const names = nodeNames(told, snapshot)
  const peers = diffPeers(desired.peers, kernel.device?.peers ?? new Map(), new Map())
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
    ...deviceChanges(desired, kernel).map(([op, what]) => change(op, what)),
    ...peers.additions.map(one =>
      change(kernel.device?.peers.has(one.publicKey) ? 'change' : 'add', peerText(one, names)),
    ),
    ...routes.missing.map(route => change('add', `route ${routeText(route, named)}`)),
    ...ruleChanges.missing.map(rule => change('add', `rule ${ruleText(rule)}`)),
    ...ruleChanges.surplus.map(rule => change('remove', `rule ${ruleText(rule)}`)),
    ...routes.surplus.map(route => change('remove', `route ${routeText(route, named)}`)),
    ...peers.removals.map(one => change(one.kind === 'remove' ? 'remove' : 'change', peerText(one, names))),
  ]
}

function deviceChanges({ device }: DesiredKernel, kernel: KernelFamily): [KernelChange['op'], string][] {
  const { name } = device
  const { link, device: held, addresses } = kernel
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
  const own = addresses.filter(address => !/^fe[89ab]/.test(address))
  return [
    ...differs.flatMap(([yes, what]): [KernelChange['op'], string][] => (yes ? [['change', what]] : [])),
    ...device.addresses
      .filter(address => !own.some(held => held === address))
      .map((address): [KernelChange['op'], string] => ['add', `address ${address} of ${name}`]),
    ...own
      .filter(address => !device.addresses.includes(address))
      .map((address): [KernelChange['op'], string] => ['remove', `address ${address} of ${name}`]),
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
