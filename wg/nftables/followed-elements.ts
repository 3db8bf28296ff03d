import type { Cidr } from '../ip.ts'
import { Follower } from '../table.ts'
import { type DesiredFirewall, type Elements, type PrefixSet, setsOf, textOf } from './ruleset.ts'

/** What may be other in one set than it was at the look before. */
export interface SetNews {
  /** Elements that it must have, of those that were looked at. */
  readonly wanted: ReadonlySet<string>
  /** Those, and elements that it must not have; undefined for all that there may be. */
  readonly looked: ReadonlySet<string> | undefined
}

/** By set; of others there is no news. */
export type ElementNews = ReadonlyMap<string, SetNews>

/** Follows the prefixes of all sets, so that a change of some costs what overlaps them. */
export class FollowedElements {
  readonly #followers = new Map<string, Follower<Cidr>>();

  /** With a step for each prefix. At first all of them are news. */
  *take(desired: DesiredFirewall): Generator<undefined, ElementNews> {
    const news = new Map<string, SetNews>()
    for (const [name, prefixes] of setsOf(desired)) {
      const follower = this.#followers.get(name) ?? new Follower<Cidr>()
      this.#followers.set(name, follower)
      const changed = follower.take(prefixes.table)
      if (changed?.size === 0) continue
      const touched = changed ? yield* overlapping(changed, prefixes) : prefixes.table.keys()
      const [wanted, looked] = [new Set<string>(), new Set<string>()]
      for (const cidr of touched) {
        yield
        looked.add(textOf(cidr))
        if (isElement(cidr, prefixes)) wanted.add(textOf(cidr))
      }
      news.set(name, { wanted, looked: changed && looked })
    }
    return news
  }
}

/** Of what was looked at, what must be there. */
export const wantedOf = (news: ElementNews): Elements => new Map(Array.from(news, ([set, { wanted }]) => [set, wanted]))

/** Of what was looked at, what there is. */
export const presentOf = (news: ElementNews, present: Elements): Elements =>
  new Map(
    Array.from(news, ([set, { looked }]) => {
      const there = present.get(set) ?? NOTHING
      return [set, looked?.intersection(there) ?? there]
    }),
  )

const NOTHING: ReadonlySet<string> = new Set()

/** Of prefixes that lie in others only the outermost are elements, as intervals must not overlap. */
const isElement = (cidr: Cidr, prefixes: PrefixSet): boolean =>
  prefixes.table.has(cidr) && prefixes.parent(cidr) === undefined

/** These, and what lies in them: each of those may have become an element, or ceased to be one. */
function* overlapping(changed: ReadonlySet<Cidr>, prefixes: PrefixSet): Generator<undefined, ReadonlySet<Cidr>> {
  const touched = new Set(changed)
  for (const cidr of changed) {
    yield
    for (const inner of prefixes.within(cidr)) touched.add(inner)
  }
  return touched
}
