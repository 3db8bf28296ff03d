import { inSlices } from '../slices.ts'
import { type ElementNews, FollowedElements, presentOf, wantedOf } from './followed-elements.ts'
import { parseListing, removeStrangers, sameListing, type TableListing } from './listing.ts'
import { NftError } from './nft.ts'
import { isNext, lookAt, type PacketFilter } from './packet-filter.ts'
import {
  changeElements,
  type DesiredFirewall,
  type Elements,
  elementsInSteps,
  exchange,
  removal,
  replacement,
  stamped,
  structure,
  TABLE,
} from './ruleset.ts'

/** Writes of one reconciliation while others write as well: the next one goes on. */
const MOST_WRITES = 4

/**
 * Keeps our table as it must be, whatever was there before and whoever changes it. Every write is one transaction that
 * leaves chains and unchanged elements where they are: no packet meets a moment without rules.
 */
export class Firewall {
  readonly #filter: PacketFilter
  /** The rules last written, where what was seen then is known to be nobody else's; empty for none at all. */
  #structure: string | undefined
  /** The table as it was last seen, or as our own write has left it. */
  #held: Held = NOTHING
  #suspect = true
  /** How far the desired prefixes were followed. What is new of them counts only while `#structure` is known. */
  #elements = new FollowedElements()
  /** What the table was last brought to; counts only while `#structure` is known. */
  #settled: DesiredFirewall | undefined

  constructor(filter: PacketFilter) {
    this.#filter = filter
  }

  /** The next reconciliation compares what is there with what was written. */
  suspect(): void {
    this.#suspect = true
  }

  /** The table as it is to be: another object when it is another. One that holds nothing for none; undefined while it is not known. */
  get listing(): TableListing | undefined {
    return this.#structure === undefined ? undefined : (this.#held.listing ?? EMPTY)
  }

  /**
   * @param desired undefined removes the table; the same object as before is taken to say the same
   * @returns `repaired` when somebody else had changed what was written
   * @throws NftError, NetlinkError
   */
  async reconcile(desired: DesiredFirewall | undefined): Promise<'unchanged' | 'written' | 'repaired'> {
    const foreign = this.#suspect && (await this.#look())
    if (this.#structure !== undefined && desired === this.#settled) return 'unchanged'
    try {
      const outcome = desired ? await this.#write(desired) : await this.#remove()
      this.#settled = desired
      return foreign ? 'repaired' : outcome
    } catch (error) {
      // What was new and is not written yet would be news no more; nor need all of it have been followed.
      this.#structure = undefined
      this.#elements = new FollowedElements()
      throw error
    }
  }

  /**
   * Lists the table, unless nothing was changed since it was last seen; what changes meanwhile makes it suspect again.
   * @returns whether somebody else has changed what was written: then it is no more known
   */
  async #look(): Promise<boolean> {
    this.#suspect = false
    try {
      const { listing, generation } = this.#held
      // Our own writes are told of, too.
      if (generation !== undefined && (await this.#filter.generation()) === generation) return false
      await this.#list()
      const same = sameListing(this.#held.listing, listing)
      if (same) this.#held = { ...this.#held, listing }
      const foreign = this.#structure !== undefined && !same
      if (foreign) this.#structure = undefined
      return foreign
    } catch (error) {
      this.#suspect = true
      throw error
    }
  }

  async #write(desired: DesiredFirewall): Promise<'unchanged' | 'written' | 'repaired'> {
    const wanted = structure(desired)
    const news = await inSlices(this.#elements.take(desired))
    let outcome: 'unchanged' | 'written' | 'repaired' = 'unchanged'
    for (let writes = 0; writes < MOST_WRITES; writes++) {
      // Events come later than what they tell of.
      if (await this.#look()) outcome = 'repaired'
      const { listing = EMPTY } = this.#held
      const rulesStand = wanted === this.#structure
      const change = rulesStand
        ? stamped(changeElements(wantedOf(news), presentOf(news, listing.elements)))
        : `${exchange(wanted)}${removeStrangers(listing, wanted)}${await this.#allElements(desired, listing.elements)}`
      if (change === '') return outcome
      this.#structure = undefined
      const before = this.#held
      const asAsked = await this.#apply(change, async () =>
        replacement(wanted, await this.#allElements(desired, EMPTY.elements)),
      )
      const isKnown = rulesStand && asAsked && (await this.#follow(news))
      if (!isKnown) await this.#list()
      if (writes > 0 && !sameListing(this.#held.listing, before.listing)) outcome = 'repaired'
      else if (outcome === 'unchanged') outcome = 'written'
      if (isNext(before, this.#held)) {
        this.#structure = wanted
        return outcome
      }
    }
    return outcome
  }

  /**
   * What a change of elements alone has left follows from what there was, where nobody else has written: nft need not list them all.
   * @returns whether it does
   */
  async #follow(news: ElementNews): Promise<boolean> {
    const { listing, generation } = this.#held
    const after = { listing: listing && { ...listing }, generation: await this.#filter.generation() }
    if (!isNext({ generation }, after)) return false
    for (const [set, { wanted, looked }] of news) {
      const held = listing?.elements.get(set)
      for (const element of looked ?? held?.union(wanted) ?? wanted) {
        if (wanted.has(element)) held?.add(element)
        else held?.delete(element)
      }
    }
    this.#held = after
    return true
  }

  /**
   * @param whole where what is there is not what it was taken for, such as a set of another type under one of our names
   * @returns whether the change was made as it was asked for
   */
  async #apply(change: string, whole: () => Promise<string>): Promise<boolean> {
    try {
      await this.#filter.apply(change)
      return true
    } catch (error) {
      if (!(error instanceof NftError)) throw error
      await this.#filter.apply(await whole())
      return false
    }
  }

  /** Commands that bring all sets to their elements. */
  async #allElements(desired: DesiredFirewall, present: Elements): Promise<string> {
    return changeElements(await inSlices(elementsInSteps(desired)), present)
  }

  async #remove(): Promise<'unchanged' | 'written'> {
    this.#structure = ''
    if (!this.#held.listing) return 'unchanged'
    await this.#filter.apply(removal)
    this.#held = NOTHING
    return 'written'
  }

  async #list(): Promise<void> {
    const { text, generation } = await lookAt(this.#filter, TABLE, 'inet')
    this.#held = { listing: text === undefined ? undefined : parseListing(text), generation }
  }
}

/** Our table at one moment. */
interface Held {
  /** Undefined where there is none. Its elements go along with what is written. */
  readonly listing: TableListing | undefined
  /** Undefined where something was changed while it was listed. */
  readonly generation: number | undefined
}

const NOTHING: Held = { listing: undefined, generation: undefined }
const EMPTY: TableListing = parseListing('')
