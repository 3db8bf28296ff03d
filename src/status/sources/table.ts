import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '#src/cluster/hostile.ts'
import { listTable } from '#wg/nftables/nft.ts'
import { TABLE } from '#wg/nftables/ruleset.ts'

/** Its name in the state directory: the nftables table as nft lists it after the agent's last write; empty for none. */
export const TABLE_FILE = 'table.nft'

/** Our nftables table as it is to be, and as it is. */
export type TableLook =
  | { readonly wanted: string; readonly present: string | undefined; readonly missing?: never }
  /** Why the two cannot be compared, a sentence. */
  | { readonly missing: string }

/** Reads both and changes nothing. Never throws. */
export async function lookAtTable(stateDir: string): Promise<TableLook> {
  try {
    const wanted = await readFile(join(stateDir, TABLE_FILE), 'utf8')
    return { wanted, present: await listTable(TABLE) }
  } catch (error) {
    const absent = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    const why = absent ? `the agent has not written ${TABLE_FILE}` : messageOf(error)
    return { missing: `the nftables table is not compared: ${why}` }
  }
}
