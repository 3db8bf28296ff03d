import { type Cidr, type Family, familyOf, hostCidr, type IpAddress, parseCidr } from '#wg/ip.ts'
import type { DesiredRoute, DesiredRule } from '#wg/reconcile/desired.ts'
import type { CidrClaims } from './claims.ts'
import type { FamilyView, MeshTables } from './family-view.ts'
import { type LaneStates, laneOf } from './lanes.ts'
import { LANES, type Lane, type NodeName } from './node-record.ts'
import { deviceAddresses, nodeAddresses } from './record-facts.ts'

/** Names of the devices that are to be there. */
export type DeviceNames = Readonly<Record<Lane, string | undefined>>

/**
 * The routes that lead to one node. In Felix's table: unicast for what an encrypting peer owns, through the device that its
 * traffic is on, throw for the rest; and our own beside it.
 * @param name of a node, or of whoever has prefixes without being one
 * @param hostSource what this host takes as its source towards the node by the tunnel; undefined where it goes in clear
 */
export function* routesTo(
  name: NodeName,
  view: FamilyView,
  states: LaneStates,
  cidrs: CidrClaims,
  names: DeviceNames,
  hostSource: IpAddress | undefined,
): Generator<DesiredRoute> {
  const { tables } = view.config
  const lane = laneOf(states, name)
  const device = lane && names[lane]
  const mtu = view.pathMtus.get(name)
  // A limit is not locked: whoever sends may still find the path to be smaller, and forwarded packets heed it all the same.
  const limit = mtu === undefined ? {} : { mtu }
  for (const destination of view.routeSync ? cidrs.prefixes(name) : []) {
    const way = device === undefined ? THROW : { type: 'unicast' as const, device, ...limit }
    yield { table: tables.mesh, destination, ...way }
  }
  const node = view.nodes.get(name)
  if (node === undefined || device === undefined) return
  const held = cidrs.addresses(name)
  for (const address of new Set(deviceAddresses(node, view.family)))
    if (cidrs.owner.longest(address) === undefined && held.has(hostCidr(address)))
      yield { table: tables.mesh, destination: hostCidr(address), type: 'unicast', device, ...limit }
  // Felix's nodes do not accept their own address as a destination from pods any better than in clear.
  if (node.announced[view.family]?.hello === undefined) return
  const own = nodeAddresses(node, view.family)
    .map(hostCidr)
    .filter(destination => held.has(destination))
  for (const destination of own) yield { table: tables.nodes, destination, type: 'unicast', device, ...limit }
  if (hostSource === undefined || tables.hosts === undefined) return
  for (const destination of own)
    yield { table: tables.hosts, destination, type: 'unicast', device, source: hostSource, ...limit }
}

/** What lets a socket that is bound to a device send by it. */
export const deviceRoutes = ({ config, family }: FamilyView, names: DeviceNames): DesiredRoute[] =>
  LANES.flatMap(lane => {
    const device = names[lane]
    const table = laneTable(config.tables, lane)
    return device === undefined ? [] : [{ table, destination: ANYWHERE[family], type: 'unicast', device }]
  })

const THROW = { type: 'throw' } as const

const ANYWHERE: Readonly<Record<Family, Cidr>> = { 4: parseCidr('0.0.0.0/0'), 6: parseCidr('::/0') }

const laneTable = (tables: MeshTables, lane: Lane): number => (lane === 'main' ? tables.device : tables.spare)

export function desiredRules({ config, nodes, self, family, hosts }: FamilyView, names: DeviceNames): DesiredRule[] {
  const { mark, rulePriority, tables } = config
  const plain = { invert: false, fwmark: 0, fwmask: 0, source: undefined, outputInterface: undefined }
  const podCidrs = nodes.get(self)?.podCidrs.filter(cidr => familyOf(cidr) === family) ?? []
  const bound = LANES.flatMap(lane => {
    const outputInterface = names[lane]
    return outputInterface === undefined ? [] : [{ table: laneTable(tables, lane), outputInterface }]
  })
  return [
    ...bound.map(rule => ({ ...plain, priority: rulePriority - 1, ...rule })),
    { ...plain, priority: rulePriority, table: tables.mesh, invert: true, fwmark: mark, fwmask: mark },
    // Not inverted: `not from X fwmark M` negates the whole selector. What the mark lets pass takes the main table here too.
    // What is forwarded keeps its way: its source would not be accepted.
    ...(hosts === undefined || tables.hosts === undefined
      ? []
      : [{ ...plain, priority: rulePriority + 1, table: tables.hosts, fwmask: mark, inputInterface: 'lo' }]),
    ...podCidrs.map(source => ({ ...plain, priority: rulePriority + 1, table: tables.nodes, source, fwmask: mark })),
    // What a pod elsewhere asked of this node, and is led on to a third one: the packet filter marks it, so that Felix's rule
    // passes it by.
    ...LANES.flatMap(lane => names[lane] ?? []).flatMap(inputInterface =>
      [tables.mesh, tables.nodes].map(table => ({
        ...{ ...plain, priority: rulePriority + 1, table, inputInterface },
        ...{ fwmark: mark, fwmask: mark },
      })),
    ),
  ]
}
