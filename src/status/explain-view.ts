import type { Explanation, Place } from './explain.ts'
import type { Paint } from './format.ts'

const VERDICTS = {
  encrypted: ['good', 'encrypted'],
  'in-clear': ['bad', 'IN CLEAR'],
  'same-node': ['faint', 'on one node'],
  unreachable: ['bad', 'UNREACHABLE'],
  unknown: ['warn', 'unknown'],
} as const

export function explainView({ from, to, verdict, because, steps, caveats }: Explanation, paint: Paint): string {
  const [tone, word] = VERDICTS[verdict]
  const width = Math.max(0, ...steps.map(({ what }) => what.length))
  return [
    `${placeText(from)} -> ${placeText(to)}`,
    `${paint(tone, word)}: ${because}`,
    ...(steps.length > 0 ? ['', ...steps.map(({ what, detail }) => `  ${what.padEnd(width)}  ${detail}`)] : []),
    ...(caveats.length > 0 ? ['', ...caveats.map(text => paint('faint', `  ${text}`))] : []),
  ].join('\n')
}

function placeText({ label, address, node, kind }: Place): string {
  const where = kind === 'outside' ? 'outside of the mesh' : kind === 'pod' ? `pod on ${node}` : `node ${node}`
  return label === address ? `${address} (${where})` : `${label} (${address}, ${where})`
}
