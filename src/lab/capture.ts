import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, type WriteStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { LabError } from './errors.ts'
import { inNamespace } from './namespaces.ts'
import { PcapReader } from './pcap.ts'
import { CANARY } from './probe/datagram.ts'
import { BRIDGE } from './topology.ts'
import { waitUntil } from './wait.ts'

export interface CaptureResult {
  readonly frames: number
  /** Frames in which a pod's payload can be read. */
  readonly readable: number
  /** What the kernel had no room for: when not 0, the capture is no proof. */
  readonly dropped: number
}

/** Enough for every header and the start of the payload, where the canary is. */
const SNAP_LENGTH = 256

/**
 * tcpdump on the bridge, read as it goes. It must be promiscuous: a bridge gives itself only what is for its own
 * address, so without it a capture is empty for the wrong reason.
 */
export class UnderlayCapture implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>
  readonly #reader = new PcapReader()
  readonly #file: WriteStream | undefined
  #frames = 0
  #readable = 0
  #stderr = ''
  #closed = false
  #example: Buffer | undefined

  private constructor(child: ChildProcessByStdio<null, Readable, Readable>, file: WriteStream | undefined) {
    this.#child = child
    this.#file = file
    child.stdout.on('data', (chunk: Buffer) => {
      file?.write(chunk)
      for (const frame of this.#reader.push(chunk)) this.#look(frame)
    })
    child.on('close', () => {
      this.#closed = true
    })
    child.stderr.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString()
    })
  }

  /**
   * Returns when frames are being captured.
   * @param filter of pcap-filter(7); empty is everything
   * @param file where to keep the capture
   */
  static async start(switchNamespace: string, filter = '', file?: string): Promise<UnderlayCapture> {
    const options = [
      '-i',
      BRIDGE,
      '-n',
      '-s',
      String(SNAP_LENGTH),
      '-U',
      '--immediate-mode',
      '-B',
      '16384',
      '-Z',
      'root',
    ]
    const [program = '', ...args] = inNamespace(switchNamespace, [
      'tcpdump',
      ...options,
      '-w',
      '-',
      ...filter.split(' ').filter(Boolean),
    ])
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    const capture = new UnderlayCapture(
      child,
      file === undefined ? undefined : createWriteStream(file, { mode: 0o600 }),
    )
    const listens = await waitUntil(
      () => (capture.#closed ? 'ended' : capture.#stderr.includes('listening on') && 'listens'),
      10_000,
      'tcpdump to listen',
    )
    if (listens === 'ended') throw new LabError('ERR_LAB_COMMAND', `tcpdump: ${capture.#stderr.trim()}`)
    return capture
  }

  /** What has been seen so far. */
  get counts(): { readonly frames: number; readonly readable: number } {
    return { frames: this.#frames, readable: this.#readable }
  }

  /** The first frame in which a pod's payload can be read. */
  get example(): Buffer | undefined {
    return this.#example
  }

  async stop(): Promise<CaptureResult> {
    if (!this.#closed) {
      this.#child.kill('SIGINT')
      await once(this.#child, 'close')
    }
    this.#file?.end()
    const dropped = /(\d+) packets? dropped by kernel/.exec(this.#stderr)?.[1]
    return { ...this.counts, dropped: Number(dropped ?? 0) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #look(frame: Buffer): void {
    this.#frames++
    if (!frame.includes(CANARY)) return
    this.#readable++
    this.#example ??= Buffer.from(frame)
  }
}
