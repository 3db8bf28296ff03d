import { bytes, percent, roundTrip, since, UNKNOWN } from '#src/status/format.ts'
import { type MeshGraph, type MeshPair, meshGraph } from '#src/status/graph.ts'
import { escapeXml, svgText } from '#src/status/graph-text.ts'
import type { MeshNode, MeshStatus } from '#src/status/mesh-status.ts'
import { meshHeadline } from '#src/status/mesh-view.ts'
import type { NodeStatus, PairStatus } from '#src/status/node-status.ts'

/** More nodes make a matrix that nobody reads; then there are only the lists. */
const MOST_IN_MATRIX = 40
const MOST_LISTED = 200

/** What each state is called in a cell, as colour alone says nothing to many. */
const SIGNS: Readonly<Record<MeshPair['state'], string>> = {
  'in clear': '!',
  'not answering': '?',
  unknown: '·',
  turning: '…',
  encrypted: '✓',
  off: '–',
}

/**
 * The mesh as HTML, whole: verdict, map, matrix, the pairs of this node.
 * @param own what this node's kernel does
 * @param now Unix time in milliseconds
 */
export function meshFragment(status: MeshStatus, own: NodeStatus, now: number): string {
  const graph = meshGraph(status, MOST_IN_MATRIX)
  return [
    `<h2 class="verdict ${status.verdict}">${escapeXml(meshHeadline(status))}</h2>`,
    graph.nodes.length <= MOST_IN_MATRIX ? `<section aria-label="map">${svgText(graph)}</section>` : '',
    graph.nodes.length <= MOST_IN_MATRIX ? matrix(graph, own, now) : '',
    nodeList(status, now),
    pairList(own, now),
  ].join('\n')
}

function matrix({ nodes, pairs }: MeshGraph, own: NodeStatus, now: number): string {
  const byNames = new Map(
    pairs.flatMap(
      pair =>
        [
          [`${pair.a} ${pair.b}`, pair],
          [`${pair.b} ${pair.a}`, pair],
        ] as const,
    ),
  )
  const cell = (row: MeshNode, column: MeshNode, y: number, x: number): string => {
    if (row === column) return '<td class="self" aria-hidden="true"></td>'
    const { state, why } = byNames.get(`${row.name} ${column.name}`) ?? { state: 'unknown' as const, why: '' }
    const traffic =
      row.name === own.node
        ? trafficOf(
            own.pairs.filter(({ node }) => node === column.name),
            now,
          )
        : ''
    const words = [`${row.name} to ${column.name}: ${state}`, why, traffic].filter(text => text !== '').join('; ')
    return `<td id="c${y}-${x}" tabindex="-1" class="${className(state)}" title="${escapeXml(words)}" aria-label="${escapeXml(words)}">${SIGNS[state]}</td>`
  }
  return [
    '<section aria-label="pairs"><h3>Pairs</h3><p class="hint">Arrow keys move between the cells; the line below says what is in one.</p>',
    '<table class="matrix" role="grid"><thead><tr><th></th>',
    ...nodes.map(({ name }) => `<th scope="col"><span>${escapeXml(name)}</span></th>`),
    '</tr></thead><tbody>',
    ...nodes.map(
      (row, y) =>
        `<tr><th scope="row">${escapeXml(row.name)}</th>${nodes.map((column, x) => cell(row, column, y, x)).join('')}</tr>`,
    ),
    '</tbody></table><p id="detail" aria-live="polite"></p></section>',
  ].join('')
}

/** Handshake, bytes each way, round trip and loss, of all families; the path's MTU where it is smaller than the tunnel's. */
function trafficOf(pairs: readonly PairStatus[], now: number): string {
  return pairs
    .map(
      ({ family, latestHandshake, rxBytes, txBytes, echo, pathMtu }) =>
        `IPv${family} ${latestHandshake === null ? 'no handshake yet' : `handshake ${since(latestHandshake, now)} ago`}, ${bytes(rxBytes)} received, ${bytes(txBytes)} sent, ${echoText(echo)}${pathMtu === null ? '' : `, path MTU ${pathMtu}`}`,
    )
    .join('; ')
}

function echoText(echo: PairStatus['echo']): string {
  if (!echo) return 'round trip and loss not known'
  const { roundTripSeconds, loss } = echo
  return `${roundTripSeconds === null ? 'no echo answered' : `round trip ${roundTrip(roundTripSeconds)}`}, loss ${percent(loss)}`
}

function nodeList({ nodes }: MeshStatus, now: number): string {
  const rows = nodes
    .slice(0, MOST_LISTED)
    .map(node => [
      node.name,
      node.address ?? '',
      node.key ?? '',
      node.state,
      since(node.since, now),
      node.peers === null ? '' : `${node.encryptedPeers}/${node.peers}`,
      node.guard ?? '',
      node.version ?? '',
      node.why,
    ])
  const more = nodes.length > MOST_LISTED ? `<p>${nodes.length - MOST_LISTED} more are better off than these.</p>` : ''
  const head = ['Node', 'Address', 'Key', 'State', 'Since', 'Peers', 'Guard', 'Version', 'Why']
  return `<section aria-label="nodes"><h3>Nodes, the worst first</h3>${list(head, rows, 3)}${more}</section>`
}

function pairList({ node, pairs, troubles }: NodeStatus, now: number): string {
  const rows = pairs
    .slice(0, MOST_LISTED)
    .map(pair => [
      pair.node,
      `IPv${pair.family}`,
      pair.state,
      since(pair.since, now),
      pair.endpoint ?? '',
      since(pair.latestHandshake, now),
      bytes(pair.rxBytes),
      bytes(pair.txBytes),
      pair.echo ? roundTrip(pair.echo.roundTripSeconds) : UNKNOWN,
      pair.echo ? percent(pair.echo.loss) : UNKNOWN,
      pair.pathMtu === null ? UNKNOWN : String(pair.pathMtu),
      pair.state === 'encrypted' ? pair.disagreements.join('; ') : [...pair.disagreements, pair.why].join('; '),
    ])
  const head = [
    'Peer',
    'Family',
    'State',
    'Since',
    'Endpoint',
    'Handshake',
    'Received',
    'Sent',
    'Round trip',
    'Loss',
    'Path MTU',
    'Why',
  ]
  const trouble = troubles.map(text => `<p class="trouble">${escapeXml(text)}</p>`).join('')
  return `<section aria-label="this node"><h3>This node, ${escapeXml(node ?? 'unknown')}, by its kernel</h3>${trouble}${list(head, rows, 2)}</section>`
}

/** @param stateColumn is coloured by what it says */
function list(head: readonly string[], rows: readonly (readonly string[])[], stateColumn: number): string {
  const cells = (row: readonly string[]) =>
    row
      .map((text, i) => `<td${i === stateColumn ? ` class="${className(text)}"` : ''}>${escapeXml(text)}</td>`)
      .join('')
  return `<div class="wide"><table><thead><tr>${head.map(text => `<th scope="col">${text}</th>`).join('')}</tr></thead><tbody>${rows.map(row => `<tr>${cells(row)}</tr>`).join('')}</tbody></table></div>`
}

const className = (state: string): string => `s-${state.replaceAll(' ', '-')}`
