import { join } from 'node:path'
import type { Logger } from '#src/cluster/logger.ts'
import { TABLE_FILE } from '#src/status/sources/table.ts'
import { formatListing, type TableListing } from '#wg/nftables/listing.ts'
import { replaceReport } from './state-file.ts'

/**
 * Keeps the nftables table as it is to be in the state directory, 0600, for `podveil diff`: beside the snapshot, as in a
 * large mesh it is long and changes seldom. A failure to write it is logged once, and is nobody else's trouble.
 */
export class TableFile {
  readonly #directory: string
  readonly #log: Logger
  #kept: TableListing | undefined
  #writing = Promise.resolve()
  #fault: string | undefined

  constructor(directory: string, log: Logger) {
    this.#directory = directory
    this.#log = log
  }

  /** @param listing the same object as before has been written; undefined while it is not known, which leaves what is there */
  keep(listing: TableListing | undefined): Promise<void> {
    if (listing === undefined || listing === this.#kept) return this.#writing
    this.#kept = listing
    this.#writing = this.#writing.then(() => this.#write(listing))
    return this.#writing
  }

  async stop(): Promise<void> {
    await this.#writing
  }

  async #write(listing: TableListing): Promise<void> {
    // Something newer waits already.
    if (listing !== this.#kept) return
    try {
      await replaceReport(join(this.#directory, TABLE_FILE), formatListing(listing))
      this.#fault = undefined
    } catch (error) {
      // The next pass tries again.
      this.#kept = undefined
      const fault = error instanceof Error ? error.message : String(error)
      if (fault !== this.#fault)
        this.#log.warn({ event: 'snapshot-unwritten' }, `cannot write ${TABLE_FILE} for \`podveil diff\`: ${fault}`)
      this.#fault = fault
    }
  }
}
