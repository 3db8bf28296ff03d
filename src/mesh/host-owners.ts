import { type Few, few, NONE } from '#wg/few.ts'
import { type Cidr, cidrAddress, type Family, hostCidr, type IpAddress } from '#wg/ip.ts'
import { SortedPrefixes } from '#wg/sorted-prefixes.ts'
import type { NodeName, NodeRecord } from './node-record.ts'
import { deviceAddresses, elderFirst, nodeAddresses } from './record-facts.ts'

/**
 * Whose each single address is: nodes' own, and those of their devices. Two Nodes with one address, as one that was left
 * behind has, must not take it from each other in turns: the elder has it. Each address is decided for itself.
 */
export class HostOwners {
  readonly #family: Family
  /** The elder first. Nearly always one for each. */
  readonly #claimants = new Map<IpAddress, Few<NodeRecord>>()
  readonly #sorted = new SortedPrefixes()
  readonly #disputed = new Set<IpAddress>()
  #changed = new Set<NodeName>()

  constructor(family: Family) {
    this.#family = family
  }

  /** Takes in what a node has now in place of what it had; undefined for nothing. */
  put(name: NodeName, before: NodeRecord | undefined, node: NodeRecord | undefined): void {
    const [had, has] = [this.#addresses(before), this.#addresses(node)]
    // One list for all addresses that nobody else has.
    const alone = node ? [node] : NONE
    for (const address of new Set([...had, ...has])) {
      const others = (this.#claimants.get(address) ?? []).filter(other => other.name !== name)
      const claimants = node && has.includes(address) ? [...others, node].sort(elderFirst) : others
      this.#settle(address, claimants.length === 1 && claimants[0] === node ? alone : few(claimants))
    }
  }

  owner(address: IpAddress): NodeName | undefined {
    return this.#claimants.get(address)?.[0]?.name
  }

  /** Nodes that have an address in a prefix. */
  *within(cidr: Cidr): Generator<NodeName> {
    for (const host of [cidr, ...this.#sorted.within(cidr)])
      for (const { name } of this.#claimants.get(cidrAddress(host)) ?? []) yield name
  }

  /** A sentence for each address that another node has, by node. */
  get refused(): ReadonlyMap<NodeName, readonly string[]> {
    const nodes = new Set([...this.#disputed].flatMap(address => this.#claimants.get(address)?.slice(1) ?? []))
    return new Map(Array.from(nodes, node => [node.name, this.#refusals(node)]))
  }

  /** Nodes of which an address has got another owner since this was last asked. */
  takeChanged(): ReadonlySet<NodeName> {
    const changed = this.#changed
    this.#changed = new Set()
    return changed
  }

  #refusals(node: NodeRecord): string[] {
    return this.#addresses(node).flatMap(address => {
      const owner = this.owner(address)
      return owner === undefined || owner === node.name ? [] : [`${address} belongs to ${owner}`]
    })
  }

  #addresses(node: NodeRecord | undefined): Few<IpAddress> {
    return node ? [...nodeAddresses(node, this.#family), ...deviceAddresses(node, this.#family)] : []
  }

  #settle(address: IpAddress, claimants: Few<NodeRecord>): void {
    const before = this.#claimants.get(address) ?? []
    if (claimants.length === 0) {
      this.#claimants.delete(address)
      this.#sorted.delete(hostCidr(address))
    } else {
      this.#claimants.set(address, claimants)
      if (before.length === 0) this.#sorted.add(hostCidr(address))
    }
    if (claimants.length > 1) this.#disputed.add(address)
    else this.#disputed.delete(address)
    if (before[0]?.name !== claimants[0]?.name)
      for (const { name } of [...before, ...claimants]) this.#changed.add(name)
  }
}
