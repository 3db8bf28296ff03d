import { applyRuleset, listTable } from './nft.ts'
import { contents, type DesiredFirewall, removal, replacement, structure, TABLE } from './ruleset.ts'

/**
 * Keeps our table as it must be, whatever was there before and whoever changes it. Every write is one transaction: there
 * is no moment without rules.
 */
export class Firewall {
  #written: { readonly structure: string; readonly contents: string } | undefined
  /** The table as nft listed it after our last write. */
  #listing: string | undefined
  #suspect = true

  /** The next reconciliation compares what is there with what was written. */
  suspect(): void {
    this.#suspect = true
  }

  /**
   * @param desired undefined removes the table
   * @returns `repaired` when somebody else had changed what was written
   * @throws NftError
   */
  async reconcile(desired: DesiredFirewall | undefined): Promise<'unchanged' | 'written' | 'repaired'> {
    const foreign = this.#suspect && this.#written !== undefined && (await this.#list()) !== this.#listing
    if (foreign) this.#written = undefined
    this.#suspect = false
    if (!desired) return this.#remove()
    const wanted = { structure: structure(desired), contents: contents(desired) }
    const sameStructure = wanted.structure === this.#written?.structure
    if (sameStructure && wanted.contents === this.#written?.contents) return 'unchanged'
    this.#written = undefined
    // Only a change of rules resets their counters.
    await applyRuleset(sameStructure ? wanted.contents : replacement(wanted.structure, wanted.contents))
    this.#listing = await this.#list()
    this.#written = wanted
    return foreign ? 'repaired' : 'written'
  }

  async #remove(): Promise<'unchanged' | 'written'> {
    const gone = this.#written?.structure === ''
    if (gone) return 'unchanged'
    const there = (await listTable(TABLE)) !== undefined
    if (there) await applyRuleset(removal)
    this.#listing = undefined
    this.#written = { structure: '', contents: '' }
    return there ? 'written' : 'unchanged'
  }

  async #list(): Promise<string | undefined> {
    const listing = await listTable(TABLE)
    return listing?.replaceAll(/packets \d+ bytes \d+/g, '')
  }
}
