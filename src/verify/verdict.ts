import type { Place } from '#src/status/explain.ts'
import { ciphertextLength, type Mark } from './marked.ts'
import type { Sent, Tally } from './protocol.ts'

/** What became of the marked datagrams of one direction. */
export interface DirectionResult {
  readonly from: Place
  readonly to: Place
  readonly family: 4 | 6
  /** `incomplete`: nothing was seen in clear, and not all that was sent was seen encrypted. */
  readonly verdict: 'encrypted' | 'in-clear' | 'not-sent' | 'incomplete'
  readonly sent: number
  /** WireGuard messages of the right size between the two nodes, as captured where they leave and where they arrive. */
  readonly ciphertext: { readonly leaving: number; readonly arriving: number }
  /** Frames in which the datagram could be read. */
  readonly clear: { readonly leaving: number; readonly arriving: number }
  /** One sentence. */
  readonly because: string
}

/** What both ends have seen of one direction. */
export interface Evidence {
  readonly from: Place
  readonly to: Place
  readonly mark: Mark
  readonly sent: Sent
  /** Underlay addresses of the two nodes. */
  readonly fromAddresses: readonly string[]
  readonly toAddresses: readonly string[]
  readonly leaving: Tally
  readonly arriving: Tally
}

export interface Verification {
  readonly verdict: 'encrypted' | 'not-encrypted' | 'unproven'
  readonly directions: readonly DirectionResult[]
}

/**
 * Each datagram that was sent must show up encrypted at both ends: then it did not go in clear as well, and a capture that
 * lost frames shows by what is missing.
 */
export function judgeDirection(evidence: Evidence): DirectionResult {
  const { from, to, mark, sent } = evidence
  const clear = { leaving: readable(evidence.leaving, mark), arriving: readable(evidence.arriving, mark) }
  const ciphertext = { leaving: encrypted(evidence, 'leaving'), arriving: encrypted(evidence, 'arriving') }
  return {
    from,
    to,
    family: mark.family,
    sent: sent.sent,
    clear,
    ciphertext,
    ...verdictOf(evidence, ciphertext),
  }
}

function verdictOf(
  { mark, sent, leaving, arriving }: Evidence,
  ciphertext: DirectionResult['ciphertext'],
): Pick<DirectionResult, 'verdict' | 'because'> {
  const example = [...leaving.clear, ...arriving.clear].find(({ token }) => token === mark.token)
  if (example)
    return {
      verdict: 'in-clear',
      because: `read on ${example.device}: "${example.example}"`,
    }
  if (sent.sent === 0) {
    const held = sent.refused === 'EPERM' ? ', a packet filter dropped it, as the guard does on enforce' : ''
    return { verdict: 'not-sent', because: `the kernel refused to send: ${sent.refused ?? 'no reason given'}${held}` }
  }
  const least = Math.min(ciphertext.leaving, ciphertext.arriving)
  if (least >= sent.sent) return { verdict: 'encrypted', because: 'all of it seen as ciphertext at both ends' }
  if (ciphertext.leaving >= sent.sent)
    return {
      verdict: 'incomplete',
      because: `left encrypted, and ${sent.sent - ciphertext.arriving} of ${sent.sent} did not arrive: is UDP to the WireGuard port blocked?`,
    }
  if (ciphertext.leaving === 0)
    return { verdict: 'incomplete', because: 'nothing of it left the node: podveil explain shows its way' }
  return {
    verdict: 'incomplete',
    because: 'a busy node loses frames of a capture: try again, or with another --count',
  }
}

/** @param directions at least one */
export function verdictOfAll(directions: readonly DirectionResult[]): Verification['verdict'] {
  if (directions.some(({ verdict }) => verdict === 'in-clear')) return 'not-encrypted'
  return directions.length > 0 && directions.every(({ verdict }) => verdict === 'encrypted') ? 'encrypted' : 'unproven'
}

const readable = (tally: Tally, { token }: Mark): number =>
  tally.clear.reduce((sum, seen) => sum + (seen.token === token ? seen.frames : 0), 0)

const encrypted = (evidence: Evidence, end: 'leaving' | 'arriving'): number =>
  evidence[end].ciphertext
    .filter(
      ({ from, to, length }) =>
        length === ciphertextLength(evidence.mark) &&
        evidence.fromAddresses.includes(from) &&
        evidence.toAddresses.includes(to),
    )
    .reduce((sum, { frames }) => sum + frames, 0)
