import type { PublicKey } from '#keys/public-key.ts'
import type { Family } from '#wg/ip.ts'
import type { NodeName, NodeRecord } from './node-record.ts'
import { announcedKeys, elderFirst } from './record-facts.ts'

/** What the tunnels of one node with this one go by. */
export interface HeldKeys {
  readonly inUse: ReadonlySet<PublicKey>
  /** Announced since, and not proven yet. */
  readonly next: ReadonlySet<PublicKey>
}

interface Claims {
  /** Nodes that announce the key. */
  readonly by: Map<NodeName, NodeRecord>
  readonly usedBy: Set<NodeName>
  readonly nextOf: Set<NodeName>
  owner: NodeName | undefined
  /** Why each other one is refused. */
  refused: string | undefined
}

const NO_KEYS: HeldKeys = { inUse: new Set(), next: new Set() }

/**
 * Which node each announced key is believed for. Incumbents, nodes whose tunnel uses the key already, come first, or who
 * announced it first as its next: copying a key never takes a tunnel away. Each key is decided for itself, so the work of a
 * change is in proportion to who announces the same.
 */
export class KeyOwners {
  readonly #family: Family
  readonly #claims = new Map<PublicKey, Claims>()
  readonly #announced = new Map<NodeName, ReadonlySet<PublicKey>>()
  readonly #held = new Map<NodeName, HeldKeys>()
  /** Nodes of which a key is refused. */
  readonly #refused = new Set<NodeName>()
  #own: ReadonlySet<PublicKey> = new Set()
  #changed = new Set<NodeName>()

  constructor(family: Family) {
    this.#family = family
  }

  /** Takes in what a node announces now; undefined for nothing. */
  announce(name: NodeName, node: NodeRecord | undefined): void {
    const before = this.#announced.get(name)
    const now = node ? announcedKeys(node, this.#family) : undefined
    if (now) this.#announced.set(name, now)
    else this.#announced.delete(name)
    for (const key of before ?? []) if (!now?.has(key)) this.#claimsOf(key).by.delete(name)
    for (const key of node && now ? now : []) if (node) this.#claimsOf(key).by.set(name, node)
    for (const key of new Set([...(before ?? []), ...(now ?? [])])) this.#settle(key)
    this.#note(name)
  }

  /** Takes in what the tunnels with a node go by. */
  hold(name: NodeName, now: HeldKeys): void {
    const before = this.#held.get(name) ?? NO_KEYS
    if (now.inUse.size + now.next.size > 0) this.#held.set(name, now)
    else this.#held.delete(name)
    for (const key of before.inUse) this.#claimsOf(key).usedBy.delete(name)
    for (const key of before.next) this.#claimsOf(key).nextOf.delete(name)
    for (const key of now.inUse) this.#claimsOf(key).usedBy.add(name)
    for (const key of now.next) this.#claimsOf(key).nextOf.add(name)
    for (const key of new Set([...before.inUse, ...before.next, ...now.inUse, ...now.next])) this.#settle(key)
  }

  /** Takes in the keys of this node itself. */
  own(keys: ReadonlySet<PublicKey>): void {
    const before = this.#own
    this.#own = keys
    for (const key of before.symmetricDifference(keys)) if (this.#claims.has(key)) this.#settle(key)
  }

  owner(key: PublicKey): NodeName | undefined {
    return this.#claims.get(key)?.owner
  }

  /** Why keys of a node are not believed, a sentence each; undefined where all are. */
  refusals(name: NodeName): readonly string[] | undefined {
    if (!this.#refused.has(name)) return undefined
    return [...(this.#announced.get(name) ?? [])].flatMap(key => this.#refusal(key, name) ?? [])
  }

  get refused(): ReadonlyMap<NodeName, readonly string[]> {
    return new Map(Array.from(this.#refused, name => [name, this.refusals(name) ?? []]))
  }

  /** Nodes whose tunnels go by a key, or that announce it. */
  concerned(key: PublicKey): Iterable<NodeName> {
    const claims = this.#claims.get(key)
    return claims ? [...claims.by.keys(), ...claims.usedBy, ...claims.nextOf] : []
  }

  /** Nodes of whose keys something else is believed than when this was last asked. */
  takeChanged(): ReadonlySet<NodeName> {
    const changed = this.#changed
    this.#changed = new Set()
    return changed
  }

  #claimsOf(key: PublicKey): Claims {
    const known = this.#claims.get(key)
    if (known) return known
    const none = { by: new Map(), usedBy: new Set<NodeName>(), nextOf: new Set<NodeName>() }
    const claims = { ...none, owner: undefined, refused: undefined }
    this.#claims.set(key, claims)
    return claims
  }

  #settle(key: PublicKey): void {
    const claims = this.#claimsOf(key)
    const { owner, refused } = claims
    // In the order of names, where the states of two nodes have one key: the same whenever it is asked.
    const incumbent = least(claims.usedBy) ?? least(claims.nextOf)
    const eldest = () => [...claims.by.values()].sort(elderFirst)[0]?.name
    if (incumbent !== undefined && claims.by.has(incumbent)) claims.owner = incumbent
    else claims.owner = incumbent === undefined && !this.#own.has(key) ? eldest() : undefined
    claims.refused = this.#own.has(key)
      ? 'it announces the key of this node'
      : `it announces the key of ${claims.owner ?? incumbent}`
    if (claims.by.size + claims.usedBy.size + claims.nextOf.size === 0) this.#claims.delete(key)
    if (claims.owner !== owner || claims.refused !== refused) for (const name of claims.by.keys()) this.#note(name)
  }

  #note(name: NodeName): void {
    this.#changed.add(name)
    const announced = [...(this.#announced.get(name) ?? [])]
    if (announced.some(key => this.#refusal(key, name) !== undefined)) this.#refused.add(name)
    else this.#refused.delete(name)
  }

  #refusal(key: PublicKey, name: NodeName): string | undefined {
    const claims = this.#claims.get(key)
    return claims && claims.owner !== name ? claims.refused : undefined
  }
}

function least(names: ReadonlySet<NodeName>): NodeName | undefined {
  let first: NodeName | undefined
  for (const name of names) if (first === undefined || name < first) first = name
  return first
}
