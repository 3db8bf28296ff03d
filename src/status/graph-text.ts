import type { MeshGraph, MeshPair, MeshPairState } from './graph.ts'
import type { MeshNode, MeshState } from './mesh-status.ts'

/** Colours that are told apart by most eyes; a line's pattern says the same without colour. */
const COLOURS: Readonly<Record<MeshState | MeshPairState, string>> = {
  'in clear': '#c62828',
  'no agent': '#c62828',
  'not answering': '#ad1457',
  unknown: '#7b1fa2',
  turning: '#b26a00',
  calico: '#7b1fa2',
  encrypted: '#2e7d32',
  off: '#757575',
}

const DASHES: Readonly<Record<MeshPairState, string>> = {
  'in clear': '2 4',
  'not answering': '8 4',
  unknown: '1 6',
  turning: '8 4 2 4',
  encrypted: '',
  off: '1 3',
}

/** Graphviz. */
export function dotText({ nodes, pairs, hidden }: MeshGraph): string {
  const quoted = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`
  return [
    'graph podveil {',
    '  layout=circo; node [shape=box, style=rounded];',
    ...(hidden > 0 ? [`  label=${quoted(`${hidden} encrypted pairs are not drawn`)};`] : []),
    ...nodes.map(
      node =>
        `  ${quoted(node.name)} [label=${quoted(`${node.name}\n${node.state}`).replace('\n', '\\n')}, color="${COLOURS[node.state]}"];`,
    ),
    ...pairs.map(
      ({ a, b, state, why }) =>
        `  ${quoted(a)} -- ${quoted(b)} [color="${COLOURS[state]}", style=${state === 'encrypted' ? 'solid' : 'dashed'}, tooltip=${quoted(pairTitle(state, why))}];`,
    ),
    '}',
  ].join('\n')
}

/** Mermaid, as GitHub draws it. */
export function mermaidText({ nodes, pairs, hidden }: MeshGraph): string {
  const id = new Map(nodes.map(({ name }, i) => [name, `n${i}`]))
  const safe = (text: string) => text.replaceAll('"', "'")
  return [
    'graph LR',
    ...(hidden > 0 ? [`  %% ${hidden} encrypted pairs are not drawn`] : []),
    ...nodes.map(({ name, state }) => `  ${id.get(name)}["${safe(name)}<br>${state}"]`),
    ...pairs.map(({ a, b, state }) =>
      state === 'encrypted' ? `  ${id.get(a)} --- ${id.get(b)}` : `  ${id.get(a)} -. ${state} .- ${id.get(b)}`,
    ),
    ...nodes.map(({ name, state }) => `  style ${id.get(name)} stroke:${COLOURS[state]}`),
  ].join('\n')
}

/** A picture that needs nothing else: nodes in a circle, light or dark as the reader's desktop is. */
export function svgText(graph: MeshGraph): string {
  const { nodes, pairs, hidden } = graph
  const radius = Math.max(120, nodes.length * 16)
  const size = 2 * radius + 140
  const at = new Map(nodes.map((node, i) => [node.name, pointOf(i, nodes.length, radius, size / 2)]))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" role="img" aria-label="${nodes.length} nodes, ${pairs.length} pairs">`,
    '<style>text{font:13px system-ui,sans-serif;fill:#1b1b1b;text-anchor:middle}.box{fill:#fff;stroke-width:2}.back{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#eee}.box{fill:#222}.back{fill:#121212}}</style>',
    `<rect class="back" width="${size}" height="${size}"/>`,
    ...pairs.map(pair => line(pair, at)),
    ...nodes.map(node => box(node, at.get(node.name))),
    ...(hidden > 0 ? [`<text x="${size / 2}" y="${size - 12}">${hidden} encrypted pairs are not drawn</text>`] : []),
    '</svg>',
  ].join('\n')
}

interface Point {
  readonly x: number
  readonly y: number
}

function pointOf(index: number, count: number, radius: number, centre: number): Point {
  const angle = (2 * Math.PI * index) / Math.max(1, count) - Math.PI / 2
  return { x: Math.round(centre + radius * Math.cos(angle)), y: Math.round(centre + radius * Math.sin(angle)) }
}

function line({ a, b, state, why }: MeshPair, at: ReadonlyMap<string, Point>): string {
  const [from, to] = [at.get(a), at.get(b)]
  if (!from || !to) return ''
  const dash = DASHES[state] === '' ? '' : ` stroke-dasharray="${DASHES[state]}"`
  const title = escapeXml(`${a} – ${b}: ${pairTitle(state, why)}`)
  return `<line x1="${from.x}" y1="${from.y}" x2="${to.x}" y2="${to.y}" stroke="${COLOURS[state]}" stroke-width="${state === 'encrypted' ? 1.5 : 3}"${dash}><title>${title}</title></line>`
}

function box({ name, state, why }: MeshNode, point: Point | undefined): string {
  if (!point) return ''
  const { x, y } = point
  const width = Math.max(84, name.length * 8 + 16)
  return [
    `<g><title>${escapeXml([name, state, why].filter(text => text !== '').join(': '))}</title>`,
    `<rect class="box" x="${x - width / 2}" y="${y - 20}" width="${width}" height="40" rx="8" stroke="${COLOURS[state]}"/>`,
    `<text x="${x}" y="${y - 3}">${escapeXml(name)}</text><text x="${x}" y="${y + 13}">${state}</text></g>`,
  ].join('')
}

const pairTitle = (state: MeshPairState, why: string): string => (why === '' ? state : `${state}: ${why}`)

/** Also of what stands in attributes. */
export const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
