import { count, type Paint, type Tone, table } from '#src/status/format.ts'
import type { DirectionResult, Verification } from './verdict.ts'

const TONES: Readonly<Record<DirectionResult['verdict'], Tone>> = {
  encrypted: 'good',
  'in-clear': 'bad',
  'not-sent': 'warn',
  incomplete: 'warn',
}

const WORDS: Readonly<Record<DirectionResult['verdict'], string>> = {
  encrypted: 'encrypted',
  'in-clear': 'IN CLEAR',
  'not-sent': 'not sent',
  incomplete: 'unproven',
}

const HEAD = ['FROM', 'TO', 'IP', 'VERDICT', 'SENT', 'CIPHERTEXT', 'CLEAR', 'WHY']

/** For a person: the verdict, then each direction. Counts are of where it leaves and of where it arrives. */
export function verificationView({ verdict, directions }: Verification, paint: Paint): string {
  const rows = directions.map(({ from, to, family, verdict, sent, ciphertext, clear, because }) => [
    nameOf(from),
    nameOf(to),
    String(family),
    paint(TONES[verdict], WORDS[verdict]),
    String(sent),
    `${ciphertext.leaving}/${ciphertext.arriving}`,
    `${clear.leaving}/${clear.arriving}`,
    verdict === 'encrypted' ? '' : because,
  ])
  return `${headline(verdict, directions, paint)}\n\n${table(HEAD, rows)}`
}

function headline(verdict: Verification['verdict'], directions: readonly DirectionResult[], paint: Paint): string {
  const all = count(directions.length, 'direction')
  const bad = directions.filter(({ verdict }) => verdict === 'in-clear').length
  switch (verdict) {
    case 'encrypted':
      return paint(
        'good',
        `encrypted: in ${all} every marked datagram was ciphertext on the underlay of both ends, none was readable`,
      )
    case 'not-encrypted':
      return paint('bad', `IN CLEAR: marked datagrams were read on the underlay in ${bad} of ${all}`)
    case 'unproven':
      return paint('warn', `unproven: nothing was readable, and not all of it was seen encrypted, in ${all}`)
  }
}

const nameOf = ({ label, address, node }: DirectionResult['from']): string =>
  label === node ? label : label === address ? `${address} (${node})` : `${label} (${node})`
