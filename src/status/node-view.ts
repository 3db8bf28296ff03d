import { bytes, count, type Paint, percent, roundTrip, since, type Tone, table, UNKNOWN } from './format.ts'
import type { NodeStatus, PairStatus } from './node-status.ts'

const TONES: Readonly<Record<PairStatus['state'], Tone>> = {
  'in clear': 'bad',
  unknown: 'warn',
  'not answering': 'bad',
  turning: 'warn',
  leaving: 'warn',
  encrypted: 'good',
  off: 'faint',
}

const HEAD = ['PEER', 'IP', 'STATE', 'SINCE', 'ENDPOINT', 'KEY', 'HANDSHAKE', 'RX', 'TX', 'RTT', 'LOSS', 'WHY']

/** This node's pairs for a person. @param now Unix time in milliseconds */
export function nodeView(status: NodeStatus, now: number, paint: Paint): string {
  const rows = status.pairs.map(pair => [
    pair.node,
    String(pair.family),
    paint(TONES[pair.state], pair.disagreements.length > 0 ? `${pair.state} !` : pair.state),
    since(pair.since, now),
    pair.endpoint ?? UNKNOWN,
    pair.publicKey?.slice(0, 8) ?? UNKNOWN,
    since(pair.latestHandshake, now),
    bytes(pair.rxBytes),
    bytes(pair.txBytes),
    roundTrip(pair.echo?.roundTripSeconds ?? null),
    pair.echo ? percent(pair.echo.loss) : UNKNOWN,
    pair.disagreements.length > 0 ? pair.disagreements.map(text => `! ${text}`).join('; ') : whyNot(pair),
  ])
  const parts = [
    [verdict(status, paint), ...status.troubles.map(trouble => paint('bad', `  ${trouble}`))].join('\n'),
    ...(rows.length > 0 ? [table(HEAD, rows)] : []),
    ...(footer(status, now) ?? []),
  ]
  return parts.join('\n\n')
}

/** That a peer is encrypted needs no excuse. */
function whyNot({ state, why, pathMtu }: PairStatus): string {
  const narrow = pathMtu === null ? '' : `path MTU ${pathMtu}`
  return state === 'encrypted' ? narrow : state === 'off' ? '' : [why, narrow].filter(text => text !== '').join('; ')
}

function verdict({ verdict, node, pairs }: NodeStatus, paint: Paint): string {
  const bad = pairs.filter(({ state }) => TONES[state] === 'bad').length
  const all = count(pairs.length, 'pair')
  switch (verdict) {
    case 'unknown':
      return paint('warn', 'unknown: no agent has told what should be encrypted here')
    case 'off':
      return paint('faint', `${node}: encryption is off`)
    case 'encrypted':
      return paint('good', `${node}: encrypted: all of ${all}`)
    case 'turning':
      return paint('warn', `${node}: turning: not all of ${all} have proven themselves yet`)
    case 'not-answering':
      return paint(
        'bad',
        `${node}: NOT ANSWERING: ${bad} of ${all} get no answer through the tunnel; traffic stays encrypted`,
      )
    case 'not-encrypted':
      return paint('bad', `${node}: NOT ENCRYPTED as it should be: ${bad} of ${all}`)
  }
}

function footer({ snapshot, agentWrote }: NodeStatus, now: number): string[] | undefined {
  if (!snapshot) return undefined
  const { podveil, dataplane, guard, repairs, settings } = snapshot
  const parts = [
    `podveil ${podveil}`,
    `WireGuard ${dataplane ?? 'not open'}`,
    `guard ${guard.mode}`,
    ...((settings.peerSource ?? 'Nodes') === 'Nodes' ? [] : [`other nodes read from ${settings.peerSource}`]),
    ...(repairs.total > 0
      ? [
          `${count(repairs.total, 'foreign change')} repaired, the last ${since(repairs.recent.at(-1)?.time ?? null, now)} ago`,
        ]
      : []),
    `agent wrote ${since(agentWrote, now)} ago`,
  ]
  return [parts.join(', ')]
}
