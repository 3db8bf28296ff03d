import { expect, test } from 'vitest'
import { meshStatus } from '#src/status/mesh-status.ts'
import { nodeStatus } from '#src/status/node-status.ts'
import { meshFragment } from '#src/web/mesh-fragment.ts'
import { PAGE } from '#src/web/page.ts'
import { encryptingNode, offNode } from '../status/support/nodes.ts'
import { family4, kernel, NOW, peer, snapshot } from '../status/support/snapshots.ts'

const own = nodeStatus(snapshot(), kernel(), NOW)

test('what a node says of itself stays text', () => {
  const nasty = { node: 'node-2', state: 'clear', reason: 'IPv4: <img src=x onerror=alert`1`> "quoted' } as const
  const html = meshFragment(meshStatus([encryptingNode(1, 1, [nasty]), encryptingNode(2, 1)]), own, NOW)
  expect(html).not.toContain('<img')
  expect(html).toContain('&lt;img src=x onerror=alert`1`&gt; &quot;quoted')
})

test('a cell of this node’s pairs has their round trip and loss, where they are known', () => {
  const echo = { roundTripSeconds: 0.012, loss: 0.004 }
  const measured = nodeStatus(snapshot({ families: [family4({ peers: [peer(2, { echo }), peer(3)] })] }), kernel(), NOW)
  const html = meshFragment(
    meshStatus([encryptingNode(1, 2), encryptingNode(2, 2), encryptingNode(3, 2)]),
    measured,
    NOW,
  )
  expect(html).toMatch(/title="node-1 to node-2: [^"]*, round trip 12 ms, loss 0\.4 %"/)
  expect(html).toMatch(/title="node-1 to node-3: [^"]*, round trip and loss not known"/)
})

test('a path that carries less than the tunnel is told, in its cell and in the list; of any other nothing is said', () => {
  const pairs = snapshot({ families: [family4({ peers: [peer(2, { pathMtu: 1360 }), peer(3)] })] })
  const html = meshFragment(
    meshStatus([encryptingNode(1, 2), encryptingNode(2, 2), encryptingNode(3, 2)]),
    nodeStatus(pairs, kernel(), NOW),
    NOW,
  )
  expect(html).toMatch(/title="node-1 to node-2: [^"]*, path MTU 1360"/)
  expect(html).not.toMatch(/title="node-1 to node-3: [^"]*path MTU/)
  expect(html).toContain('<td>1360</td>')
})

test('a mesh of many nodes is lists, not a matrix', () => {
  const many = Array.from({ length: 60 }, (_, i) => offNode(i + 1))
  const html = meshFragment(meshStatus(many), own, NOW)
  expect(html).not.toContain('class="matrix"')
  expect(html.match(/<td>node-\d+<\/td>/g)?.length).toBeGreaterThanOrEqual(60)
})

test('the page asks nobody else for anything', () => {
  expect(PAGE).not.toMatch(/https?:|\bsrc=|@import|url\(/)
})
