import { describe, expect, test } from 'vitest'
import type { AskedRoute } from '#src/status/asked-route.ts'
import { type Explanation, explainHere, placeOf } from '#src/status/explain.ts'
import { explainFromMesh } from '#src/status/explain-mesh.ts'
import { explainView } from '#src/status/explain-view.ts'
import { plain } from '#src/status/format.ts'
import { meshStatus } from '#src/status/mesh-status.ts'
import type { KernelFamily } from '#src/status/node-kernel.ts'
import type { NodeSnapshot } from '#src/status/snapshot.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { makeRoute } from '#wg/rtnetlink/route.ts'
import { makeRule } from '#wg/rtnetlink/rule.ts'
import { encryptingNode, offNode } from './support/nodes.ts'
import {
  ago,
  family4,
  kernel,
  keyOf,
  NOW,
  onSpare,
  peer,
  snapshot,
  withoutRoute,
  withoutRule,
} from './support/snapshots.ts'

function explain(
  from: string,
  to: string,
  changes: Partial<KernelFamily> = {},
  told: NodeSnapshot = snapshot(),
): Explanation {
  const place = (text: string) => placeOf(parseAddress(text), text, told)
  return explainHere(place(from), place(to), told, kernel(changes), NOW)
}

describe('on the node, by its kernel', () => {
  test('pod to remote pod: rule, route, peer and reason', () => {
    expect(explainView(explain('10.244.1.10', '10.244.2.10'), plain)).toBe(
      [
        '10.244.1.10 (pod on node-1) -> 10.244.2.10 (pod on node-2)',
        'encrypted: it goes into wireguard.cali, to node-2 at 10.200.0.2:51820',
        '',
        '  rule           99: not from all fwmark 0x200000/0x200000 lookup 1',
        '  route          10.244.2.0/24 dev wireguard.cali table 1',
        `  peer           node-2 holds 10.244.2.0/24, key ${keyOf(2)}, 10.200.0.2:51820, handshake 60s ago`,
        '  agent          node-2 is encrypting for 5m: its hello says that it accepts all that we publish',
        '  configuration  wireguardEnabled true, wireguardRoutingRulePriority 99, tables 1 2 3, guard audit',
        '',
        '  this is one direction: `podveil explain 10.244.2.10 10.244.1.10` on node-2 shows the other',
      ].join('\n'),
    )
  })

  test('pod to a remote node’s own address takes the second table, node to node neither', () => {
    expect(explain('10.244.1.10', '10.200.0.2')).toMatchObject({ verdict: 'encrypted' })
    expect(explain('10.200.0.1', '10.200.0.2')).toMatchObject({
      verdict: 'in-clear',
      because: expect.stringContaining('only where both have wireguardHostEncryptionEnabled'),
    })
  })

  test('pod to remote pod, while the pair is on the spare devices', () => {
    expect(explain('10.244.1.10', '10.244.2.10', onSpare())).toMatchObject({
      verdict: 'encrypted',
      because: 'it goes into wg-spare.cali, to node-2 at 10.200.0.2:51822',
    })
  })

  test('an address that another node borrowed is on that node, though it lies in a block of ours', () => {
    const told = snapshot({ families: [family4({ peers: [peer(2), peer(3, { podCidrs: ['10.244.1.20/32'] })] })] })
    expect(placeOf(parseAddress('10.244.1.20'), 'x', told)).toMatchObject({ kind: 'pod', node: 'node-3' })
    expect(placeOf(parseAddress('10.244.1.21'), 'x', told)).toMatchObject({ kind: 'pod', node: 'node-1' })
  })

  test('a peer that has not proven itself: the agent’s reason', () => {
    const waiting = peer(2, { phase: 'accepting', since: ago(45), reason: 'no handshake yet' })
    const told = snapshot({ families: [family4({ peers: [waiting, peer(3)] })] })
    expect(explain('10.244.1.10', '10.244.2.10', withoutRoute('10.244.2.0/24'), told)).toMatchObject({
      verdict: 'in-clear',
      because: 'no handshake yet',
    })
  })

  test('a rule that somebody deleted', () => {
    const explanation = explain('10.244.1.10', '10.244.2.10', withoutRule(99))
    expect(explanation.verdict).toBe('in-clear')
    expect(explanation.because).toContain('the kernel does not send it into the tunnel')
    expect(explanation.steps.at(1)).toEqual({ what: 'rule', detail: '32766: from all lookup 254' })
  })

  test('a rule that looks at more than is known of a packet is named as not judged', () => {
    const rule = makeRule({ family: 4, priority: 50, action: 'lookup', table: 77, iif: 'veth9' })
    const { rules } = kernel({}).families[4]
    const { caveats } = explain('10.244.1.10', '10.244.2.10', { rules: [rule, ...rules] })
    expect(caveats).toContain('not judged, because it looks at more than addresses: 50: from all iif veth9 lookup 77')
  })

  test('what stays on the node, and what leaves the mesh', () => {
    expect(explain('10.244.1.10', '10.244.1.11').verdict).toBe('same-node')
    expect(explain('10.244.1.10', '1.1.1.1')).toMatchObject({ verdict: 'in-clear', to: { kind: 'outside' } })
  })

  test('a route into the tunnel without a peer behind it is a black hole', () => {
    const device = { ...kernel().families[4].device, peers: new Map() } as KernelFamily['device']
    expect(explain('10.244.1.10', '10.244.2.10', { device }).verdict).toBe('unreachable')
  })

  test('is the kernel’s own word where it was asked, whatever its rules and routes seem to say', () => {
    const told = snapshot()
    const place = (text: string) => placeOf(parseAddress(text), text, told)
    const ask = (asked: AskedRoute) =>
      explainHere(place('10.244.1.10'), place('10.244.2.10'), told, kernel({}), NOW, asked)
    const main = makeRoute({
      table: 254,
      destination: parseCidr('10.244.2.0/24'),
      type: 'unicast',
      device: 2,
      protocol: 3,
    })
    const elsewhere = ask({ as: 'forwarded', device: 'veth1', route: main, refused: undefined })
    expect(elsewhere.verdict).toBe('in-clear')
    expect(elsewhere.steps).toContainEqual({ what: 'kernel', detail: 'says so itself, of a packet come in by veth1' })
    expect(elsewhere.caveats[0]).toMatch(/^the kernel decides otherwise than its rules and routes read/)

    const [worked] =
      kernel({})
        .families[4].routes.get(1)
        ?.filter(({ destination }) => destination === '10.244.2.0/24') ?? []
    const agreed = ask({ as: 'forwarded', device: 'veth1', route: worked, refused: undefined })
    expect(agreed.verdict).toBe('encrypted')
    expect(agreed.steps[0]).toEqual({ what: 'rule', detail: '99: not from all fwmark 0x200000/0x200000 lookup 1' })

    const refused = ask({
      as: 'forwarded',
      device: 'veth1',
      route: undefined,
      refused: 'a rule or a route prohibits it',
    })
    expect(refused).toMatchObject({ verdict: 'unreachable', because: 'a rule or a route prohibits it' })
  })
})

describe('from anywhere, by what the nodes publish', () => {
  const from = { address: parseAddress('10.244.1.10'), label: 'pod-1', node: 'node-1', kind: 'pod' } as const
  const to = { address: parseAddress('10.244.2.10'), label: 'pod-2', node: 'node-2', kind: 'pod' } as const
  const ask = (objects: unknown[]) => explainFromMesh(from, to, meshStatus(objects))
  const clear = (node: string) => ({ node, state: 'clear', reason: 'IPv4: no handshake yet' }) as const

  test('encrypted where the sender says that all its peers are', () => {
    expect(ask([encryptingNode(1, 1), encryptingNode(2, 1)]).verdict).toBe('encrypted')
  })

  test('between nodes themselves in clear, unless both say that they encrypt that: then the node alone can tell', () => {
    const mesh = meshStatus([encryptingNode(1, 1), encryptingNode(2, 1)])
    const hosts = (...names: string[]) =>
      explainFromMesh({ ...from, kind: 'node' }, { ...to, kind: 'node' }, mesh, { encryptingHosts: new Set(names) })
    expect(hosts('node-1').verdict).toBe('in-clear')
    expect(hosts('node-1', 'node-2').verdict).toBe('unknown')
  })

  test('in clear where the sender names the other, with its reason', () => {
    expect(ask([encryptingNode(1, 1, [clear('node-2')]), encryptingNode(2, 1)])).toMatchObject({
      verdict: 'in-clear',
      because: 'in clear: IPv4: no handshake yet',
    })
  })

  test('encrypted, and lost, where the other does not answer', () => {
    const silent = { node: 'node-2', state: 'silent', reason: 'IPv4: answers nothing' } as const
    expect(ask([encryptingNode(1, 1, [silent]), encryptingNode(2, 1)])).toMatchObject({
      verdict: 'encrypted',
      because: 'node-1 sends it through the tunnel, and node-2 does not answer: it is lost, not readable',
    })
  })

  test('a node whose name begins alike is another node', () => {
    const objects = [encryptingNode(1, 2, [clear('node-21')]), encryptingNode(2, 2), encryptingNode(21, 2)]
    expect(ask(objects).verdict).toBe('encrypted')
  })

  test('unknown where the sender names only some', () => {
    const others = [3, 4, 5, 6].map(index => clear(`node-${index}`))
    expect(ask([encryptingNode(1, 5, others), encryptingNode(2, 1)]).verdict).toBe('unknown')
  })

  test('in clear where encryption is off', () => {
    expect(ask([offNode(1), offNode(2)])).toMatchObject({ verdict: 'in-clear', because: 'encryption is off' })
  })
})
