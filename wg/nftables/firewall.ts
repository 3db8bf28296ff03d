import { inSlices } from '../slices.ts'
import { parseListing, removeStrangers, type TableListing, withoutCounts } from './listing.ts'
import { applyRuleset, listTable, NftError } from './nft.ts'
import {
  changeElements,
  type DesiredFirewall,
  elementsInSteps,
  exchange,
  removal,
  replacement,
  structure,
  TABLE,
} from './ruleset.ts'

/**
 * Keeps our table as it must be, whatever was there before and whoever changes it. Every write is one transaction that
 * leaves chains and unchanged elements where they are: no packet meets a moment without rules.
 */
export class Firewall {
  /** The rules last written; empty for none at all. */
  #structure: string | undefined
  /** The table as nft listed it after our last write. */
  #listing: string | undefined
  /** What a listing says, read once for as long as nothing is written: with thousands of nodes it is a long text. */
  #read: { readonly text: string; readonly listing: TableListing } | undefined
  #suspect = true
  /** What the table was last brought to; counts only while `#structure` is known. */
  #settled: DesiredFirewall | undefined

  /** The next reconciliation compares what is there with what was written. */
  suspect(): void {
    this.#suspect = true
  }

  /** The table as it is to be: as nft listed it after the last write, without counts. Empty for none; undefined while it is not known. */
  get listing(): string | undefined {
    return this.#structure === undefined ? undefined : (this.#listing ?? '')
  }

  /**
   * @param desired undefined removes the table; the same object as before is taken to say the same
   * @returns `repaired` when somebody else had changed what was written
   * @throws NftError
   */
  async reconcile(desired: DesiredFirewall | undefined): Promise<'unchanged' | 'written' | 'repaired'> {
    const present = this.#suspect ? await this.#look() : this.#listing
    const foreign = this.#structure !== undefined && present !== this.#listing
    if (foreign) this.#structure = undefined
    this.#listing = present
    if (this.#structure !== undefined && desired === this.#settled) return 'unchanged'
    const wrote = desired ? await this.#write(desired, present) : await this.#remove(present)
    this.#settled = desired
    return foreign ? 'repaired' : wrote ? 'written' : 'unchanged'
  }

  /** What changes while it is being listed makes it suspect again. */
  async #look(): Promise<string | undefined> {
    this.#suspect = false
    try {
      return await this.#list()
    } catch (error) {
      this.#suspect = true
      throw error
    }
  }

  /** @returns whether anything had to be written */
  async #write(desired: DesiredFirewall, present: string | undefined): Promise<boolean> {
    const wanted = structure(desired)
    const listing = this.#parse(present ?? '')
    const rules = wanted === this.#structure ? '' : `${exchange(wanted)}${removeStrangers(listing, wanted)}`
    const elements = await inSlices(elementsInSteps(desired))
    const change = `${rules}${changeElements(elements, listing.elements)}`
    if (change === '') return false
    this.#structure = undefined
    try {
      await applyRuleset(change)
    } catch (error) {
      if (!(error instanceof NftError)) throw error
      // What is there is not what it was taken for, such as a set of another type under one of our names.
      await applyRuleset(replacement(wanted, changeElements(elements, new Map())))
    }
    this.#listing = await this.#list()
    this.#structure = wanted
    return true
  }

  #parse(text: string): TableListing {
    if (this.#read?.text !== text) this.#read = { text, listing: parseListing(text) }
    return this.#read.listing
  }

  async #remove(present: string | undefined): Promise<boolean> {
    this.#structure = ''
    if (present === undefined) return false
    await applyRuleset(removal)
    this.#listing = undefined
    return true
  }

  async #list(): Promise<string | undefined> {
    const listing = await listTable(TABLE)
    return listing === undefined ? undefined : withoutCounts(listing)
  }
}
