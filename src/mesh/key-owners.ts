import type { PublicKey } from '#keys/public-key.ts'
import { type Few, few, NONE, sameFew, withOne, withoutOne } from '#wg/few.ts'
import type { Family, IpAddress } from '#wg/ip.ts'
import { isGone, type NodeName, type NodeRecord } from './node-record.ts'
import { announcedKeys } from './record-facts.ts'

/** What the tunnels of one node with this one go by. */
export interface HeldKeys {
  /** Traffic is steered to it: it has been proven. */
  readonly proven: Few<PublicKey>
  /** Its peer has addresses, and nothing is steered to it. */
  readonly inUse: Few<PublicKey>
  /** Announced since, and not proven yet. */
  readonly next: Few<PublicKey>
}

interface Claims {
  /** Nodes that announce the key. */
  by: Few<NodeRecord>
  provenFor: Few<NodeName>
  usedBy: Few<NodeName>
  nextOf: Few<NodeName>
  /** Of those that announce it, the one from whose own address it has shaken hands. */
  caller: NodeName | undefined
  owner: NodeName | undefined
  /** Several announce it, and nothing tells yet whose it is. */
  contested: boolean
  /** Why each that announces it and is not its owner is refused. */
  refused: string | undefined
}

const NO_KEYS: HeldKeys = { proven: NONE, inUse: NONE, next: NONE }

/**
 * Which node each announced key is believed for. Copying a key never takes a tunnel away, nor a tunnel's place: of several
 * that announce one key it is the node that traffic is steered to by it, else the one that it has shaken hands from, else
 * the one whose tunnel waits for that already. Where nothing tells, nobody is believed until the key has called: age and
 * name say nothing of who holds it. Each key is decided for itself, so the work of a change is in proportion to who
 * announces the same.
 */
export class KeyOwners {
  readonly #family: Family
  readonly #claims = new Map<PublicKey, Claims>()
  readonly #held = new Map<NodeName, HeldKeys>()
  readonly #shared = new Set<PublicKey>()
  /** Nodes of which a key is refused. */
  readonly #refused = new Map<NodeName, NodeRecord>()
  #own: ReadonlySet<PublicKey> = new Set()
  #changed = new Set<NodeName>()

  constructor(family: Family) {
    this.#family = family
  }

  /** Takes in what a node announces now in place of what it announced; undefined for nothing. */
  put(name: NodeName, before: NodeRecord | undefined, node: NodeRecord | undefined): void {
    const now = node ? announcedKeys(node, this.#family) : NONE
    const keys = few([...(before ? announcedKeys(before, this.#family) : NONE), ...now])
    for (const key of keys) {
      const claims = this.#claimsOf(key)
      const others = claims.by.filter(other => other.name !== name)
      claims.by = few(node && now.includes(key) ? [...others, node] : others)
    }
    for (const key of keys) this.#settle(key)
    this.#changed.add(name)
    if (node) this.#note(node)
    else this.#refused.delete(name)
  }

  /** Takes in what the tunnels with a node go by. */
  hold(name: NodeName, now: HeldKeys): void {
    const before = this.#held.get(name) ?? NO_KEYS
    if (sameHeld(before, now)) return
    if (allOf(now).length > 0) this.#held.set(name, now)
    else this.#held.delete(name)
    const keys = few([...allOf(before), ...allOf(now)])
    for (const key of keys) {
      const claims = this.#claimsOf(key)
      claims.provenFor = (now.proven.includes(key) ? withOne : withoutOne)(claims.provenFor, name)
      claims.usedBy = (now.inUse.includes(key) ? withOne : withoutOne)(claims.usedBy, name)
      claims.nextOf = (now.next.includes(key) ? withOne : withoutOne)(claims.nextOf, name)
    }
    for (const key of keys) this.#settle(key)
  }

  /** Takes in where the keys that several nodes announce have shaken hands from; undefined for nowhere yet. */
  hear(addressOf: (key: PublicKey) => IpAddress | undefined): void {
    for (const key of this.#shared) {
      const claims = this.#claimsOf(key)
      const address = addressOf(key)
      const there = claims.by.filter(({ addresses }) => address && addresses.includes(address))
      const caller = there.length === 1 ? there[0]?.name : undefined
      if (caller === claims.caller) continue
      claims.caller = caller
      this.#settle(key)
    }
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

  /** Several nodes announce it, and whose it is has to show. */
  isContested(key: PublicKey): boolean {
    return this.#claims.get(key)?.contested ?? false
  }

  /** Why keys of a node are not believed, a sentence each; undefined where all are. */
  refusals(name: NodeName): readonly string[] | undefined {
    const node = this.#refused.get(name)
    return node && announcedKeys(node, this.#family).flatMap(key => this.#refusal(key, name) ?? [])
  }

  get refused(): ReadonlyMap<NodeName, readonly string[]> {
    return new Map(Array.from(this.#refused.keys(), name => [name, this.refusals(name) ?? []]))
  }

  /** Nodes whose tunnels go by a key, or that announce it. */
  concerned(key: PublicKey): Iterable<NodeName> {
    const claims = this.#claims.get(key)
    return claims ? [...claims.by.map(nameOf), ...claims.provenFor, ...claims.usedBy, ...claims.nextOf] : []
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
    const nobody = { caller: undefined, owner: undefined, contested: false, refused: undefined }
    const claims = { by: NONE, provenFor: NONE, usedBy: NONE, nextOf: NONE, ...nobody }
    this.#claims.set(key, claims)
    return claims
  }

  #settle(key: PublicKey): void {
    const claims = this.#claimsOf(key)
    const { by, owner, refused } = claims
    const isOurs = this.#own.has(key)
    const names = by.map(nameOf)
    const several = names.length > 1
    // Its Node may come back, and have it again.
    const open = several || claims.usedBy.some(isGone)
    if (open) this.#shared.add(key)
    else this.#shared.delete(key)
    if (!open || (claims.caller !== undefined && !names.includes(claims.caller))) claims.caller = undefined
    const incumbent = incumbentOf(claims)
    claims.contested = several && incumbent === undefined && !isOurs
    if (incumbent !== undefined) claims.owner = names.includes(incumbent) ? incumbent : undefined
    else claims.owner = several || isOurs ? undefined : least(names)
    if (names.every(name => name === claims.owner)) claims.refused = undefined
    else if (isOurs) claims.refused = 'it announces the key of this node'
    else if (claims.contested) claims.refused = `${names.sort().join(' and ')} announce one key: ${UNTIL}`
    else claims.refused = `it announces the key of ${claims.owner ?? incumbent}`
    const held = [claims.provenFor, claims.usedBy, claims.nextOf]
    if (names.length === 0 && held.every(those => those.length === 0)) this.#claims.delete(key)
    if (claims.owner !== owner || claims.refused !== refused) for (const node of by) this.#note(node)
  }

  #note(node: NodeRecord): void {
    const { name } = node
    this.#changed.add(name)
    const isRefused = announcedKeys(node, this.#family).some(key => this.#refusal(key, name) !== undefined)
    if (isRefused) this.#refused.set(name, node)
    else this.#refused.delete(name)
  }

  #refusal(key: PublicKey, name: NodeName): string | undefined {
    const claims = this.#claims.get(key)
    return claims && claims.owner !== name ? claims.refused : undefined
  }
}

const UNTIL = 'it is believed for the one that calls with it from an address of its own'

const nameOf = ({ name }: NodeRecord): NodeName => name

const sameHeld = (one: HeldKeys, other: HeldKeys): boolean =>
  sameFew(one.proven, other.proven) && sameFew(one.inUse, other.inUse) && sameFew(one.next, other.next)

const allOf = ({ proven, inUse, next }: HeldKeys): readonly PublicKey[] => [...proven, ...inUse, ...next]

/** In the order of names, where the states of two nodes have one key: the same whenever it is asked. */
function incumbentOf({ provenFor, caller, usedBy, nextOf }: Claims): NodeName | undefined {
  // Where it is the next key of two, neither came first.
  return least(provenFor) ?? caller ?? least(usedBy) ?? (nextOf.length === 1 ? least(nextOf) : undefined)
}

function least(names: Iterable<NodeName>): NodeName | undefined {
  let first: NodeName | undefined
  for (const name of names) if (first === undefined || name < first) first = name
  return first
}
