import { NftError } from './nft.ts'
import { isNext, lookAt, type PacketFilter, type Seen } from './packet-filter.ts'
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
  readonly #filter: PacketFilter
  /** What was last written, and how nft lists it; undefined where somebody else may have written meanwhile. */
  #known: { readonly mark: number | undefined; readonly listing: string | undefined } | undefined
  #suspect = true

  constructor(filter: PacketFilter) {
    this.#filter = filter
  }

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
    const before = await this.#look(mark === undefined)
    const foreign = known?.mark !== undefined && before.text !== known.listing
    this.#suspect = false
    if (settled && !foreign) return 'unchanged'
    this.#known = undefined
    if (mark !== undefined) await this.#filter.apply(`${removal}${rules(mark)}`)
    else if (before.text !== undefined) await this.#filter.apply(removal)
    const after = mark === undefined ? NOTHING : await this.#look(false)
    if (mark === undefined || isNext(before, after)) this.#known = { mark, listing: after.text }
    if (foreign) return 'repaired'
    return mark === undefined && before.text === undefined ? 'unchanged' : 'written'
  }

  /** @param isOptional a kernel without such tables has none */
  async #look(isOptional: boolean): Promise<Seen> {
    try {
      return await lookAt(this.#filter, TABLE, FAMILY)
    } catch (error) {
      if (isOptional && error instanceof NftError) return NOTHING
      throw error
    }
  }
}

const NOTHING: Seen = { text: undefined, generation: undefined }
