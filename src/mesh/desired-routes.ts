import { type Cidr, type Family, familyOf, hostCidr, parseCidr } from '#wg/ip.ts'
import type { DesiredRoute, DesiredRule } from '#wg/reconcile/desired.ts'
import { addressesOf, type CidrClaims, deviceAddresses, nodeAddresses } from './claims.ts'
import type { FamilyView, MeshTables } from './family-view.ts'
import type { SteeredHosts } from './host-steering.ts'
import { type LaneStates, laneOf } from './lanes.ts'
import { LANES, type Lane, type NodeName } from './node-record.ts'

/** Names of the devices that are to be there. */
export type DeviceNames = Readonly<Record<Lane, string | undefined>>

/**
 * Felix's table: unicast for what an encrypting peer owns, through the device that its traffic is on, throw for the rest;
 * and our own beside it.
 */
export function* desiredRoutes(
  view: FamilyView,
  states: LaneStates,
  cidrs: CidrClaims,
  names: DeviceNames,
  hosts: SteeredHosts | undefined,
): Generator<DesiredRoute> {
  const { tables } = view.config
  const deviceTo = (node: NodeName): string | undefined => {
    const lane = laneOf(states, node)
    return lane && names[lane]
  }
  const limit = (node: NodeName) => {
    const mtu = view.pathMtus.get(node)
    return mtu === undefined ? NO_LIMIT : { mtu }
  }
  for (const [destination, owner] of view.routeSync ? cidrs.owner : []) {
    const device = deviceTo(owner)
    const way = device === undefined ? THROW : { type: 'unicast' as const, device, ...limit(owner) }
    yield { table: tables.mesh, destination, ...way }
  }
  for (const node of view.nodes.values()) {
    const device = deviceTo(node.name)
    if (device === undefined) continue
    const held = addressesOf(node, view.family, cidrs, view.cidrSource)
    for (const address of new Set(deviceAddresses(node, view.family)))
      if (cidrs.owner.longest(address) === undefined && held.has(hostCidr(address)))
        yield { table: tables.mesh, destination: hostCidr(address), type: 'unicast', device, ...limit(node.name) }
    // Felix's nodes do not accept their own address as a destination from pods any better than in clear.
    if (node.announced[view.family]?.hello === undefined) continue
    for (const destination of nodeAddresses(node, view.family).map(hostCidr))
      if (held.has(destination))
        yield { table: tables.nodes, destination, type: 'unicast', device, ...limit(node.name) }
    if (hosts === undefined || tables.hosts === undefined || !hosts.nodes.has(node.name)) continue
    const { source } = hosts
    for (const destination of nodeAddresses(node, view.family).map(hostCidr))
      if (held.has(destination))
        yield { table: tables.hosts, destination, type: 'unicast', device, source, ...limit(node.name) }
  }
  for (const lane of LANES) {
    const device = names[lane]
    if (device !== undefined)
      yield { table: laneTable(tables, lane), destination: ANYWHERE[view.family], type: 'unicast', device }
  }
}

const THROW = { type: 'throw' } as const

/**
 * A limit is not locked: whoever sends may still find the path to be smaller, and forwarded packets heed it all the same.
 */
const NO_LIMIT = {}

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
  ]
}
