import type { Cidr } from '../ip.ts'
import { PrefixMap } from '../prefix-map.ts'
import { Follower } from '../table.ts'
import { type DesiredFirewall, type Elements, type PrefixKeys, setsOf, textOf } from './ruleset.ts'

/** What may be other than it was at the look before. */
export interface ElementNews {
  /** By set, elements that it must have, and has to be asked for. */
  readonly wanted: Elements
  /** By set, those, and elements that it must not have. */
  readonly looked: Elements
}

/** Follows the prefixes of all sets, so that a change of some costs what overlaps them. */
export class FollowedElements {
  readonly #sets = new Map<string, FollowedSet>();

  /** With a step for each prefix. At first all of them are news. */
  *take(desired: DesiredFirewall): Generator<undefined, ElementNews> {
    const [wanted, looked] = [new Map<string, ReadonlySet<string>>(), new Map<string, ReadonlySet<string>>()]
    const sets = setsOf(desired)
    for (const [name, prefixes] of sets) {
      const set = this.#sets.get(name) ?? new FollowedSet()
      this.#sets.set(name, set)
      const touched = yield* set.take(prefixes)
      if (touched.size === 0) continue
      const elements = [...touched].filter(cidr => set.isElement(cidr))
      looked.set(name, new Set(touched.values().map(textOf)))
      wanted.set(name, new Set(elements.map(textOf)))
    }
    for (const name of this.#sets.keys()) if (!sets.has(name)) this.#sets.delete(name)
    return { wanted, looked }
  }
}

/** Of what was looked at, what there is. */
export const presentOf = (looked: Elements, present: Elements): Elements =>
  new Map(Array.from(looked, ([set, elements]) => [set, elements.intersection(present.get(set) ?? NOTHING)]))

const NOTHING: ReadonlySet<string> = new Set()

/** The prefixes of one set; of those that lie in others only the outermost are elements, as intervals must not overlap. */
class FollowedSet {
  readonly #followed = new Follower<Cidr>()
  readonly #prefixes = new PrefixMap<true>()

  isElement(cidr: Cidr): boolean {
    return this.#prefixes.get(cidr) === true && this.#prefixes.parent(cidr) === undefined
  }

  /** @returns prefixes that may have become elements, or ceased to be */
  *take(prefixes: PrefixKeys): Generator<undefined, ReadonlySet<Cidr>> {
    const changed = this.#followed.take(prefixes)
    const touched = new Set<Cidr>()
    for (const cidr of changed ?? new Set([...this.#prefixes.table.keys(), ...prefixes.keys()])) {
      yield
      const isThere = prefixes.has(cidr)
      if (isThere === (this.#prefixes.get(cidr) === true)) continue
      if (isThere) this.#prefixes.set(cidr, true)
      else this.#prefixes.delete(cidr)
      touched.add(cidr)
      for (const inner of this.#prefixes.within(cidr)) touched.add(inner)
    }
    return touched
  }
}
