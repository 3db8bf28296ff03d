import { applyRuleset, listTable, NftError } from './nft.ts'
import { TABLE } from './ruleset.ts'

const FAMILY = 'arp'

const removal = `table ${FAMILY} ${TABLE} {}\ndelete table ${FAMILY} ${TABLE}\n`

const rules = (mark: number): string => `
table ${FAMILY} ${TABLE} {
  chain mark_question {
    type filter hook input priority 0; policy accept;
    meta mark set meta mark | 0x${mark.toString(16)}
  }
}
`

/**
 * Keeps our table of family arp, for a node that steers what it sends to other nodes. Who asks for its link-layer address is
 * looked up as the sender of a packet would be (arp_process() in net/ipv4/arp.c): the way back leads into the tunnel, and a
 * strict reverse-path filter drops the question, so that the two nodes forget each other within a minute. With the mark the
 * main table answers. Tables of family inet never see ARP; IPv6 has no such filter for its own questions.
 */
export class NeighbourTable {
  /** What was last written, and how nft lists it. */
  #known: { readonly mark: number | undefined; readonly listing: string | undefined } | undefined
  #suspect = true

  /** The next reconciliation compares what is there with what was written. */
  suspect(): void {
    this.#suspect = true
  }

  /**
   * @param mark the bit to set, as that of the firewall; undefined removes the table
   * @returns `repaired` when somebody else had changed what was written
   * @throws NftError, such as where the kernel has no tables of this family
   */
  async reconcile(mark: number | undefined): Promise<'unchanged' | 'written' | 'repaired'> {
    const known = this.#known
    const settled = known !== undefined && known.mark === mark
    if (settled && (mark === undefined || !this.#suspect)) return 'unchanged'
    const present = mark === undefined ? await listIfAny() : await listTable(TABLE, FAMILY)
    const foreign = known?.mark !== undefined && present !== known.listing
    this.#suspect = false
    if (settled && !foreign) return 'unchanged'
    this.#known = undefined
    if (mark !== undefined) await applyRuleset(`${removal}${rules(mark)}`)
    else if (present !== undefined) await applyRuleset(removal)
    this.#known = { mark, listing: mark === undefined ? undefined : await listTable(TABLE, FAMILY) }
    if (foreign) return 'repaired'
    return mark === undefined && present === undefined ? 'unchanged' : 'written'
  }
}

/** A kernel without such tables has none. */
async function listIfAny(): Promise<string | undefined> {
  try {
    return await listTable(TABLE, FAMILY)
  } catch (error) {
    if (error instanceof NftError) return undefined
    throw error
  }
}
