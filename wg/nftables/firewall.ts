import { inSlices } from '../slices.ts'
import { FollowedElements, presentOf } from './followed-elements.ts'
import { parseListing, removeStrangers, type TableListing, withoutCounts } from './listing.ts'
import { NftError } from './nft.ts'
import { isNext, lookAt, type PacketFilter, type Seen } from './packet-filter.ts'
import {
  changeElements,
  type DesiredFirewall,
  type Elements,
  elementsInSteps,
  exchange,
  removal,
  replacement,
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
  /** The table as it was last seen. */
  #seen: Seen = { text: undefined, generation: undefined }
  /** What a listing says, read once for as long as nothing is written: with thousands of nodes it is a long text. */
  #read: { readonly text: string; readonly listing: TableListing } | undefined
  #suspect = true
  /** How far the desired prefixes were followed. What is new of them counts only while `#structure` is known. */
  readonly #elements = new FollowedElements()
  /** What the table was last brought to; counts only while `#structure` is known. */
  #settled: DesiredFirewall | undefined

  constructor(filter: PacketFilter) {
    this.#filter = filter
  }

  /** The next reconciliation compares what is there with what was written. */
  suspect(): void {
    this.#suspect = true
  }

  /** The table as it is to be: as nft listed it after the last write, without counts. Empty for none; undefined while it is not known. */
  get listing(): string | undefined {
    return this.#structure === undefined ? undefined : (this.#seen.text ?? '')
  }

  /**
   * @param desired undefined removes the table; the same object as before is taken to say the same
   * @returns `repaired` when somebody else had changed what was written
   * @throws NftError, NetlinkError
   */
  async reconcile(desired: DesiredFirewall | undefined): Promise<'unchanged' | 'written' | 'repaired'> {
    const foreign = this.#suspect && (await this.#look())
    if (this.#structure !== undefined && desired === this.#settled) return 'unchanged'
    const outcome = desired ? await this.#write(desired) : await this.#remove()
    this.#settled = desired
    return foreign ? 'repaired' : outcome
  }

  /**
   * Lists the table, unless nothing was changed since it was last seen; what changes meanwhile makes it suspect again.
   * @returns whether somebody else has changed what was written: then it is no more known
   */
  async #look(): Promise<boolean> {
    this.#suspect = false
    try {
      const { text, generation } = this.#seen
      // Our own writes are told of, too.
      if (generation !== undefined && (await this.#filter.generation()) === generation) return false
      this.#seen = await this.#list()
      const foreign = this.#structure !== undefined && this.#seen.text !== text
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
      const listing = this.#parse(this.#seen.text ?? '')
      const change =
        wanted === this.#structure
          ? changeElements(news.wanted, presentOf(news.looked, listing.elements))
          : `${exchange(wanted)}${removeStrangers(listing, wanted)}${await this.#allElements(desired, listing.elements)}`
      if (change === '') return outcome
      this.#structure = undefined
      const before = this.#seen
      await this.#apply(change, async () => replacement(wanted, await this.#allElements(desired, new Map())))
      this.#seen = await this.#list()
      if (writes > 0 && this.#seen.text !== before.text) outcome = 'repaired'
      else if (outcome === 'unchanged') outcome = 'written'
      if (isNext(before, this.#seen)) {
        this.#structure = wanted
        return outcome
      }
    }
    return outcome
  }

  /** @param whole where what is there is not what it was taken for, such as a set of another type under one of our names */
  async #apply(change: string, whole: () => Promise<string>): Promise<void> {
    try {
      await this.#filter.apply(change)
    } catch (error) {
      if (!(error instanceof NftError)) throw error
      await this.#filter.apply(await whole())
    }
  }

  /** Commands that bring all sets to their elements. */
  async #allElements(desired: DesiredFirewall, present: Elements): Promise<string> {
    return changeElements(await inSlices(elementsInSteps(desired)), present)
  }

  #parse(text: string): TableListing {
    if (this.#read?.text !== text) this.#read = { text, listing: parseListing(text) }
    return this.#read.listing
  }

  async #remove(): Promise<'unchanged' | 'written'> {
    this.#structure = ''
    if (this.#seen.text === undefined) return 'unchanged'
    await this.#filter.apply(removal)
    this.#seen = { text: undefined, generation: undefined }
    return 'written'
  }

  async #list(): Promise<Seen> {
    const { text, generation } = await lookAt(this.#filter, TABLE, 'inet')
    return { text: text === undefined ? undefined : withoutCounts(text), generation }
  }
}
