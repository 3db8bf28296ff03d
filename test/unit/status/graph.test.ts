import { describe, expect, test } from 'vitest'
import { meshGraph } from '#src/status/graph.ts'
import { dotText, mermaidText, svgText } from '#src/status/graph-text.ts'
import { meshStatus } from '#src/status/mesh-status.ts'
import { encryptingNode, nodeObject, offNode } from './support/nodes.ts'

const blocked = { node: 'node-3', state: 'clear', reason: 'IPv4: "no" <handshake> yet' } as const
const mesh = () => meshStatus([encryptingNode(1, 2, [blocked]), encryptingNode(2, 2), encryptingNode(3, 2)])

const pairs = (...args: Parameters<typeof meshGraph>) =>
  meshGraph(...args).pairs.map(({ a, b, state }) => `${a} ${b} ${state}`)

describe('the graph of a mesh', () => {
  test('has every pair once, as the worse of its two sides says', () => {
    expect(pairs(mesh())).toEqual(['node-1 node-2 encrypted', 'node-1 node-3 in clear', 'node-2 node-3 encrypted'])
  })

  test('takes nothing for encrypted that nobody says is', () => {
    expect(pairs(meshStatus([encryptingNode(1, 1), nodeObject(2, undefined)]))).toEqual(['node-1 node-2 in clear'])
    expect(pairs(meshStatus([offNode(1), offNode(2)]))).toEqual(['node-1 node-2 off'])
    const many = ['node-5', 'node-6', 'node-7', 'node-8'].map(node => ({ ...blocked, node }))
    const [, , , unnamed] = ['node-5', 'node-6', 'node-7', 'node-8']
    const nodes = [encryptingNode(1, 7, many), ...[5, 6, 7, 8].map(index => encryptingNode(index, 7))]
    expect(pairs(meshStatus(nodes))).toContain(`node-1 ${unnamed} unknown`)
  })

  test('of many nodes shows what is wrong, and counts the rest', () => {
    const graph = meshGraph(mesh(), 2)
    expect(graph.pairs.map(({ state }) => state)).toEqual(['in clear'])
    expect(graph.hidden).toBe(2)
    for (const text of [dotText(graph), mermaidText(graph), svgText(graph)])
      expect(text).toContain('2 encrypted pairs are not drawn')
  })

  test('is written for Graphviz, for Markdown and as a picture, with nothing that breaks out of it', () => {
    const graph = meshGraph(mesh())
    expect(dotText(graph)).toContain(
      '"node-1" -- "node-3" [color="#c62828", style=dashed, tooltip="in clear: node-1: IPv4: \\"no\\" <handshake> yet"];',
    )
    expect(mermaidText(graph)).toMatch(/^graph LR\n {2}n0\["node-1<br>in clear"\]\n/)
    expect(mermaidText(graph)).toContain('n0 -. in clear .- n2')
    const svg = svgText(graph)
    expect(svg.match(/<line /g)).toHaveLength(3)
    expect(svg).toContain('&lt;handshake&gt;')
    expect(svg).not.toMatch(/<handshake>|https?:\/\/(?!www\.w3\.org\/2000\/svg)/)
  })
})
