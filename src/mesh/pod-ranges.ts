import {
  type Cidr,
  cidrBytes,
  cidrContains,
  cidrFromBytes,
  FAMILIES,
  type Family,
  familyOf,
  prefixLength,
} from '#wg/ip.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import { Follower } from '#wg/table.ts'
import type { NodeName, NodeRecord } from './node-record.ts'

/** A prefix of a node's pods that lies in no range that is known to be of pods. */
export interface Stray {
  readonly node: NodeName
  readonly cidr: Cidr
}

/** Follows which nodes have pods outside of the ranges that are said to hold all of them. */
export class StrayPods {
  readonly #nodes = new Follower<NodeName>()
  readonly #strays: Readonly<Record<Family, Map<NodeName, Cidr>>> = { 4: new Map(), 6: new Map() }
  #ranges: readonly Cidr[] = []

  /** @returns one of each family that has any, the same one for as long as it strays */
  take(nodes: ReadonlyMap<NodeName, NodeRecord>, ranges: readonly Cidr[]): readonly Stray[] {
    const changed = this.#nodes.take(nodes)
    if (changed && sameInputs(this.#ranges, ranges))
      for (const name of changed) this.#look(name, nodes.get(name), ranges)
    else {
      for (const family of FAMILIES) this.#strays[family].clear()
      for (const [name, node] of nodes) this.#look(name, node, ranges)
    }
    this.#ranges = ranges
    return FAMILIES.flatMap(family => [...this.#strays[family].entries().take(1)]).map(([node, cidr]) => ({
      node,
      cidr,
    }))
  }

  #look(name: NodeName, node: NodeRecord | undefined, ranges: readonly Cidr[]): void {
    for (const family of FAMILIES) {
      const astray = (cidr: Cidr) => familyOf(cidr) === family && !ranges.some(range => cidrContains(range, cidr))
      const stray = node?.podCidrs.find(astray)
      if (stray === undefined) this.#strays[family].delete(name)
      else this.#strays[family].set(name, stray)
    }
  }
}

/** Ranges wider than this are of no cluster's pods alone. */
const WIDEST = { 4: 8, 6: 16 } as const

/** The smallest prefix of each family that holds all pods of these nodes, where there is one that says something. */
export function rangesAround(nodes: Iterable<NodeRecord>): readonly Cidr[] {
  const around = new Map<Family, Cidr>()
  for (const { podCidrs } of nodes)
    for (const cidr of podCidrs) {
      const family = familyOf(cidr)
      around.set(family, smallestAround(around.get(family) ?? cidr, cidr))
    }
  return [...around.values()].filter(range => prefixLength(range) >= WIDEST[familyOf(range)])
}

/** The longest prefix that both are in. */
function smallestAround(one: Cidr, other: Cidr): Cidr {
  let range = one
  while (!cidrContains(range, other)) range = cidrFromBytes(cidrBytes(range), prefixLength(range) - 1)
  return range
}
