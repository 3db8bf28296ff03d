import { addressBits, type Cidr, cidrBytes, cidrContains, cidrFromBytes, familyOf, prefixLength } from '#wg/ip.ts'
import { PrefixMap } from '#wg/prefix-map.ts'
import { atOnce } from '#wg/slices.ts'
import type { NodeName, NodeRecord } from './node-record.ts'

/**
 * Where each node's pods are, for those that know no longest prefix: an address that another node borrowed is cut out of the
 * block that it lies in, so that none is on two nodes.
 */
export const territories = (nodes: ReadonlyMap<NodeName, NodeRecord>): ReadonlyMap<NodeName, readonly Cidr[]> =>
  atOnce(territoriesInSteps(nodes))

/** The same, with a step for each Node. */
export function* territoriesInSteps(
  nodes: ReadonlyMap<NodeName, NodeRecord>,
): Generator<undefined, ReadonlyMap<NodeName, readonly Cidr[]>> {
  const owner = new PrefixMap<NodeName>()
  // Of two that claim one prefix the lesser name, whatever the order that the Nodes have come in.
  for (const { name, podCidrs } of nodes.values()) {
    for (const cidr of podCidrs) if (name <= (owner.get(cidr) ?? name)) owner.set(cidr, name)
    yield
  }
  const holes = new Map<Cidr, Cidr[]>()
  for (const [cidr, node] of owner) {
    const around = owner.parent(cidr)
    if (around && around[1] !== node) holes.set(around[0], [...(holes.get(around[0]) ?? []), cidr])
    yield
  }
  const cut = (cidr: Cidr): readonly Cidr[] => {
    const within = holes.get(cidr)
    return within ? without(cidr, within) : [cidr]
  }
  const found = new Map<NodeName, readonly Cidr[]>()
  for (const { name, podCidrs } of nodes.values()) {
    found.set(name, podCidrs.flatMap(cut))
    yield
  }
  return found
}

/** The fewest prefixes that make up `cidr` less the holes, all of which lie in it. */
export function without(cidr: Cidr, holes: readonly Cidr[]): readonly Cidr[] {
  if (holes.length === 0) return [cidr]
  if (holes.includes(cidr)) return []
  return halves(cidr).flatMap(half =>
    without(
      half,
      holes.filter(hole => cidrContains(half, hole)),
    ),
  )
}

function halves(cidr: Cidr): readonly Cidr[] {
  const length = prefixLength(cidr) + 1
  if (length > addressBits(familyOf(cidr))) return []
  const upper = Uint8Array.from(cidrBytes(cidr))
  const at = (length - 1) >> 3
  upper[at] = (upper[at] ?? 0) | (0x80 >> ((length - 1) & 7))
  return [cidrFromBytes(cidrBytes(cidr), length), cidrFromBytes(upper, length)]
}
