import { readAttributes } from '../netlink/attributes.ts'
import { Connection } from '../netlink/connection.ts'
import { NetlinkFormatError } from '../netlink/errors.ts'
import { NETLINK_NETFILTER, NFGENMSG, NFNL_SUBSYS_NFTABLES } from './constants.ts'
import { applyRuleset, listTable } from './nft.ts'

/** linux/netfilter/nf_tables.h. */
const NFT_MSG_GETGEN = 16
const NFTA_GEN_ID = 1

const LAST_GENERATION = 0xffff_ffff

/** The packet filter of a network namespace, as whoever keeps a table in it needs it. */
export interface PacketFilter {
  /** Runs a ruleset as one transaction. @throws NftError */
  apply(ruleset: string): Promise<void>
  /** A table as nft writes it; undefined where there is none. @throws NftError */
  list(table: string, family: 'inet' | 'arp'): Promise<string | undefined>
  /** Counts the transactions of the namespace, of every table and whoever made them: a u32, never 0. @throws NetlinkError */
  generation(): Promise<number>
}

/** That of the namespace that this process is in. */
export class OwnPacketFilter implements PacketFilter, Disposable {
  #connection: Connection | undefined
  readonly apply = applyRuleset
  readonly list = listTable

  async generation(): Promise<number> {
    this.#connection ??= Connection.open(NETLINK_NETFILTER)
    const request = { type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN, flags: 0, payload: new Uint8Array(NFGENMSG) }
    const { payload } = await this.#connection.get(request, 'count the changes of nftables')
    const id = readAttributes(payload.subarray(NFGENMSG)).find(({ type }) => type === NFTA_GEN_ID)
    if (!id) throw new NetlinkFormatError('generation of nftables without its number')
    return Buffer.from(id.exactly(4)).readUInt32BE()
  }

  [Symbol.dispose](): void {
    this.#connection?.close()
  }
}

/** A table as it was at one moment. */
export interface Seen {
  /** Undefined where there was none. */
  readonly text: string | undefined
  /** Undefined where something was changed while it was listed. */
  readonly generation: number | undefined
}

/** Lists a table, and notes when. @throws NftError, NetlinkError, SocketError */
export async function lookAt(filter: PacketFilter, table: string, family: 'inet' | 'arp'): Promise<Seen> {
  const before = await filter.generation()
  const text = await filter.list(table, family)
  return { text, generation: (await filter.generation()) === before ? before : undefined }
}

/**
 * Whether one transaction was made between two looks, and no other: what was seen then is what that one left. Whoever takes
 * what another process has written meanwhile for its own would never set it right.
 */
export const isNext = (before: Pick<Seen, 'generation'>, after: Pick<Seen, 'generation'>): boolean =>
  before.generation !== undefined &&
  after.generation === (before.generation === LAST_GENERATION ? 1 : before.generation + 1)
