import { describe, expect, test } from 'vitest'
import { pathEvents } from '#src/agent/report-paths.ts'
import type { NodeName } from '#src/mesh/node-record.ts'

const paths = (mtus: Readonly<Record<string, number>>) =>
  new Map(Object.entries(mtus).map(([node, mtu]) => [node as NodeName, mtu]))

const always = () => true

const reasons = (before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>) =>
  pathEvents(4, paths(before), paths(after), always).map(({ type, reason }) => `${type} ${reason}`)

describe('Events of paths', () => {
  test('name the peer, the family and the MTU', () => {
    const [event] = pathEvents(6, paths({}), paths({ 'node-2': 1312 }), always)
    expect(event).toMatchObject({ type: 'Warning', reason: 'PathMTUReduced' })
    expect(event?.message).toMatch(/node-2 \(IPv6\).* 1312 now/)
  })

  test('tell another MTU, and when it is whole again, each once', () => {
    expect(reasons({}, { 'node-2': 1232 })).toEqual(['Warning PathMTUReduced'])
    expect(reasons({ 'node-2': 1232 }, { 'node-2': 1232 })).toEqual([])
    expect(reasons({ 'node-2': 1232 }, { 'node-2': 1312 })).toEqual(['Warning PathMTUReduced'])
    expect(reasons({ 'node-2': 1312 }, {})).toEqual(['Normal PathMTURestored'])
  })

  test('say nothing of a peer that is gone, nor where nobody asks any more', () => {
    expect(pathEvents(4, paths({ 'node-2': 1232 }), paths({}), () => false)).toEqual([])
  })

  test('are one for many peers at once', () => {
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`node-${i + 2}`, 1232 + 16 * (i % 3)]))
    expect(reasons({}, many)).toEqual(['Warning PathMTUReduced'])
    expect(pathEvents(4, paths({}), paths(many), always)[0]?.message).toMatch(/40 nodes, node-2 among them.* 1232 now/)
    expect(reasons(many, {})).toEqual(['Normal PathMTURestored'])
  })
})
