import { type Cidr, type Family, familyOf, hostCidr, parseCidr } from '#wg/ip.ts'
import type { DesiredRoute, DesiredRule } from '#wg/reconcile/desired.ts'
import { addressesOf, type CidrClaims, deviceAddresses, nodeAddresses } from './claims.ts'
import type { FamilyView } from './family-view.ts'
import type { NodeName } from './node-record.ts'
import type { PeerStates } from './peer-machine.ts'

/** Felix's table: unicast for what an encrypting peer owns, throw for the rest; and our own two beside it. */
export function* desiredRoutes(view: FamilyView, states: PeerStates, cidrs: CidrClaims): Generator<DesiredRoute> {
  const { tables } = view.config
  const encrypting = (name: NodeName) => states.get(name)?.phase === 'encrypting'
  if (view.routeSync)
    for (const [destination, owner] of cidrs.owner)
      yield { table: tables.mesh, destination, type: encrypting(owner) ? 'unicast' : 'throw' }
  for (const [name, state] of states) {
    const node = view.nodes.get(name)
    if (state.phase !== 'encrypting' || !node) continue
    const held = addressesOf(node, view.family, cidrs, view.cidrSource)
    for (const device of new Set(deviceAddresses(node, view.family)))
      if (cidrs.owner.longest(device) === undefined && held.has(hostCidr(device)))
        yield { table: tables.mesh, destination: hostCidr(device), type: 'unicast' }
    // Felix's nodes do not accept their own address as a destination from pods any better than in clear.
    if (state.helloAddress === undefined) continue
    for (const destination of nodeAddresses(node, view.family).map(hostCidr))
      if (held.has(destination)) yield { table: tables.nodes, destination, type: 'unicast' }
  }
  yield { table: tables.device, destination: ANYWHERE[view.family], type: 'unicast' }
}

const ANYWHERE: Readonly<Record<Family, Cidr>> = { 4: parseCidr('0.0.0.0/0'), 6: parseCidr('::/0') }

export function desiredRules({ config, nodes, self, family }: FamilyView): DesiredRule[] {
  const { mark, rulePriority, tables, interfaceName } = config
  const plain = { invert: false, fwmark: 0, fwmask: 0, source: undefined, outputInterface: undefined }
  const podCidrs = nodes.get(self)?.podCidrs.filter(cidr => familyOf(cidr) === family) ?? []
  return [
    { ...plain, priority: rulePriority - 1, table: tables.device, outputInterface: interfaceName },
    { ...plain, priority: rulePriority, table: tables.mesh, invert: true, fwmark: mark, fwmask: mark },
    // Not inverted: `not from X fwmark M` negates the whole selector. What the mark lets pass takes the main table here too.
    ...podCidrs.map(source => ({ ...plain, priority: rulePriority + 1, table: tables.nodes, source, fwmask: mark })),
  ]
}
