import { setTimeout as pause } from 'node:timers/promises'
import { LabError } from '#src/lab/errors.ts'
import type { LabPod } from '#src/lab/lab.ts'

/** One turn of a transfer between two pods. */
export interface Transfer {
  /** Bits a second that arrived. */
  readonly bits: number
  /** Datagrams a second that arrived; NaN of a stream. */
  readonly packets: number
}

const PORT = 5_201
/** UDP payload of small packets, as much as a word of speech or a name server's question. */
const SMALL = 64
const LIMIT_MS = 60_000
const ATTEMPTS = 20

/** A server in a pod, which ends with its lab. */
export function serve(pod: LabPod): void {
  void pod.exec(['iperf3', '--server', '--port', String(PORT)], { timeoutMs: 3_600_000 })
}

/** One TCP stream. */
export const stream = (from: LabPod, to: LabPod, seconds: number): Promise<Transfer> => transfer(from, to, seconds, [])

/** As many small datagrams as go. */
export const datagrams = (from: LabPod, to: LabPod, seconds: number): Promise<Transfer> =>
  transfer(from, to, seconds, ['--udp', '--bandwidth', '0', '--length', String(SMALL)])

interface Sums {
  readonly bits_per_second: number
  readonly seconds: number
  readonly packets?: number
  readonly lost_packets?: number
}

interface Answer {
  readonly error?: string
  readonly end?: { readonly sum?: Sums; readonly sum_received?: Sums }
}

/** @throws LabError with iperf3's words */
async function transfer(from: LabPod, to: LabPod, seconds: number, kind: readonly string[]): Promise<Transfer> {
  const [address = ''] = to.addresses
  const command = ['iperf3', '--client', address, '--port', String(PORT), '--time', String(seconds), '--json', ...kind]
  let said = ''
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { stdout, stderr } = await from.exec(command, { timeoutMs: LIMIT_MS + seconds * 1_000 })
    const { error, end } = answer(stdout)
    // Of datagrams, iperf3 3.12 gives those that arrived only as what was sent less what was lost.
    if (error === undefined && end !== undefined)
      return kind.length > 0 ? ofDatagrams(end.sum) : ofStream(end.sum_received)
    said = error ?? stderr
    // The server of the last turn has not quite ended, or the first one is not there yet.
    await pause(250)
  }
  throw new LabError('ERR_LAB_TRAFFIC', `iperf3 from ${from.name} to ${to.name}: ${said}`)
}

function answer(stdout: string): Answer {
  try {
    return JSON.parse(stdout) as Answer
  } catch {
    return { error: stdout.slice(0, 200) }
  }
}

const ofStream = (sums: Sums | undefined): Transfer => ({
  bits: sums?.bits_per_second ?? Number.NaN,
  packets: Number.NaN,
})

function ofDatagrams(sums: Sums | undefined): Transfer {
  const arrived = (sums?.packets ?? Number.NaN) - (sums?.lost_packets ?? 0)
  const packets = arrived / (sums?.seconds ?? Number.NaN)
  return { bits: packets * SMALL * 8, packets }
}
