import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Logger } from '#src/cluster/logger.ts'
import { type NodeSnapshot, SNAPSHOT_FILE } from '#src/status/snapshot.ts'
import { jsonPieces } from './json-pieces.ts'
import { replaceReport } from './state-file.ts'

/** Milliseconds between two writes, and after which a snapshot is written though nothing has changed. */
const GAP = 1_000
const HEARTBEAT = 30_000

/** Writes of a large mesh take at most this part of a processor, or come as seldom as those of no news. */
const SHARE = 1 / 200

/**
 * Keeps the snapshot in the state directory, 0600, replaced as a whole: whoever reads it sees one moment. A failure to
 * write it is logged once, and is nobody else's trouble.
 */
export class SnapshotFile {
  readonly #directory: string
  readonly #log: Logger
  #latest: (() => NodeSnapshot) | undefined
  #written: { readonly digest: string | undefined; readonly at: number } | undefined
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #builtAt = Number.NEGATIVE_INFINITY
  #gap = GAP
  #fault: string | undefined

  constructor(directory: string, log: Logger) {
    this.#directory = directory
    this.#log = log
  }

  /** @param build makes the snapshot when its time has come; later offers take the place of this one */
  offer(build: () => NodeSnapshot): void {
    this.#latest = build
    if (this.#timer || this.#writing) return
    const wait = Math.max(0, this.#builtAt + this.#gap - performance.now())
    this.#timer = setTimeout(() => this.#start(), wait)
    this.#timer.unref()
  }

  /** Writes what was offered last. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#writing
    if (this.#latest) await this.#write(this.#latest)
  }

  #start(): void {
    this.#timer = undefined
    const build = this.#latest
    this.#latest = undefined
    if (!build) return
    this.#writing = this.#write(build).finally(() => {
      this.#writing = undefined
      if (this.#latest) this.offer(this.#latest)
    })
  }

  async #write(build: () => NodeSnapshot): Promise<void> {
    const started = performance.now()
    const before = process.cpuUsage()
    this.#builtAt = started
    try {
      const snapshot = build()
      // Where it is that seldom whatever it says need not be known.
      const digest = this.#gap < HEARTBEAT ? digestOf(snapshot) : undefined
      const fresh = this.#written !== undefined && started - this.#written.at < HEARTBEAT
      if (fresh && digest !== undefined && digest === this.#written?.digest) return
      await replaceReport(join(this.#directory, SNAPSHOT_FILE), jsonPieces(snapshot))
      this.#written = { digest, at: started }
      const { user, system } = process.cpuUsage(before)
      this.#gap = Math.min(HEARTBEAT, Math.max(GAP, (user + system) / 1_000 / SHARE))
      this.#fault = undefined
    } catch (error) {
      const fault = error instanceof Error ? error.message : String(error)
      if (fault !== this.#fault)
        this.#log.warn(
          { event: 'snapshot-unwritten' },
          `cannot write ${SNAPSHOT_FILE} for \`podveil status --node\`: ${fault}`,
        )
      this.#fault = fault
    }
  }
}

/** The time alone is no news. */
function digestOf(snapshot: NodeSnapshot): string {
  const hash = createHash('sha256')
  for (const piece of jsonPieces({ ...snapshot, time: '' })) hash.update(piece)
  return hash.digest('base64')
}
