import { count, type Paint, since, type Tone, table, UNKNOWN } from './format.ts'
import type { MeshNode, MeshState, MeshStatus } from './mesh-status.ts'

const TONES: Readonly<Record<MeshState, Tone>> = {
  'in clear': 'bad',
  'no agent': 'bad',
  unknown: 'bad',
  'not answering': 'bad',
  turning: 'warn',
  calico: 'warn',
  encrypted: 'good',
  off: 'faint',
}

const HEAD = ['NODE', 'ADDRESS', 'KEY', 'STATE', 'SINCE', 'PEERS', 'HANDSHAKE', 'GUARD', 'VERSION', 'WHY']

/** The mesh for a person: the verdict, then the nodes, the worst first. @param now Unix time in milliseconds */
export function meshView(status: MeshStatus, now: number, paint: Paint): string {
  const rows = status.nodes.map(node => [
    node.name,
    node.address ?? UNKNOWN,
    node.key ?? UNKNOWN,
    paint(TONES[node.state], node.state),
    since(node.since, now),
    node.peers === null ? UNKNOWN : `${node.encryptedPeers}/${node.peers}`,
    since(node.latestHandshake, now),
    node.guard ?? UNKNOWN,
    node.version ?? UNKNOWN,
    node.why,
  ])
  return `${paint(VERDICT_TONES[status.verdict], meshHeadline(status))}\n\n${table(HEAD, rows)}`
}

const VERDICT_TONES: Readonly<Record<MeshStatus['verdict'], Tone>> = {
  off: 'faint',
  encrypted: 'good',
  turning: 'warn',
  'not-answering': 'bad',
  unknown: 'bad',
  'not-encrypted': 'bad',
}

/** The verdict in one line. */
export function meshHeadline({ verdict, nodes }: MeshStatus): string {
  const all = count(nodes.length, 'node')
  const bad = nodes.filter(({ state }) => TONES[state] === 'bad')
  switch (verdict) {
    case 'off':
      return `off: encryption is off on all of ${all}; wireguardEnabled of FelixConfiguration turns it on`
    case 'encrypted':
      return `encrypted: pod traffic between all of ${all}`
    case 'turning':
      return `turning: ${turning(nodes)} of ${all} still prove that their peers accept`
    case 'not-answering':
      return `NOT ANSWERING: ${bad.length} of ${all} get no answer through the tunnel; traffic stays encrypted`
    case 'unknown':
      return `UNKNOWN: the agents of ${bad.length} of ${all} have not been heard of`
    case 'not-encrypted':
      return `NOT ENCRYPTED as it should be: ${bad.length} of ${all}`
  }
}

const turning = (nodes: readonly MeshNode[]): number => nodes.filter(({ state }) => state === 'turning').length
