import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Logger } from '#src/cluster/logger.ts'
import { jsonInSteps, type Told } from '#src/status/json-steps.ts'
import { type NodeSnapshot, SNAPSHOT_FILE } from '#src/status/snapshot.ts'
import { inSlices } from '#wg/slices.ts'
import { replaceReport } from './state-file.ts'

/** Milliseconds between two writes, and after which a snapshot is written though nothing has changed. */
const GAP = 1_000
const HEARTBEAT = 30_000

/** Writes of a large mesh take at most this part of a processor, or come so seldom: older ones count as stale (STALE). */
const SHARE = 1 / 1_000
const LONGEST_GAP = 60_000

/**
 * Keeps the snapshot in the state directory, 0600, replaced as a whole: whoever reads it sees one moment. A failure to
 * write it is logged once, and is nobody else's trouble.
 */
export class SnapshotFile {
  readonly #directory: string
  readonly #log: Logger
  #latest: (() => Told<NodeSnapshot>) | undefined
  #written: { readonly digest: string; readonly at: number } | undefined
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
  offer(build: () => Told<NodeSnapshot>): void {
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

  async #write(build: () => Told<NodeSnapshot>): Promise<void> {
    const started = performance.now()
    this.#builtAt = started
    try {
      const { time, ...news } = build()
      const stopwatch = { spent: performance.now() - started }
      const { pieces, digest } = await inSlices(timed(tellInSteps(news), stopwatch))
      // The first of an agent is slow, and tells of what is just changing.
      this.#gap = Math.min(LONGEST_GAP, Math.max(GAP, Math.min(stopwatch.spent / SHARE, this.#gap * 4)))
      const fresh = this.#written !== undefined && started - this.#written.at < HEARTBEAT
      // The time alone is no news.
      if (fresh && digest === this.#written?.digest) return
      const first = Buffer.from(`{"time":${JSON.stringify(time)},`)
      await replaceReport(join(this.#directory, SNAPSHOT_FILE), [first, ...pieces])
      this.#written = { digest, at: started }
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

/** Counts the milliseconds that the steps themselves take, without what has its turn between them. */
function* timed<Result>(
  steps: Generator<undefined, Result>,
  stopwatch: { spent: number },
): Generator<undefined, Result> {
  for (;;) {
    const began = performance.now()
    const { done, value } = steps.next()
    stopwatch.spent += performance.now() - began
    if (done) return value
    yield
  }
}

/** Characters that are put into bytes at a time. */
const PIECE = 65_536

/** An object as text, without the brace that it begins with. */
function* tellInSteps(
  data: object,
): Generator<undefined, { readonly pieces: readonly Uint8Array[]; readonly digest: string }> {
  const hash = createHash('sha256')
  const pieces: Uint8Array[] = []
  const put = (text: string): void => {
    const piece = Buffer.from(pieces.length === 0 ? text.slice(1) : text)
    hash.update(piece)
    pieces.push(piece)
  }
  let text = ''
  for (const word of jsonInSteps(data)) {
    text += word
    if (text.length >= PIECE) {
      put(text)
      text = ''
    }
    yield
  }
  put(`${text}\n`)
  return { pieces, digest: hash.digest('base64') }
}
