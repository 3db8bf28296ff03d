import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'
import { must } from '#src/lab/run.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { onNode } from '../mesh/support/with-mesh.ts'
import { counted, setGuard, withGuardedMesh } from './support/cluster.ts'
import { tell } from './support/tell.ts'

const PORT = 7_070
const NODE_PORT = 30_080
/** Datagrams for each family. */
const COUNT = 20

interface Path {
  readonly name: string
  /** Address translation of the first node. */
  readonly translation: string
  /** Where datagrams come from, and where they are sent to. */
  send(lab: Lab, one: LabNode, two: LabNode): Promise<unknown>
  /** What they are on the underlay when they are not in the tunnel. */
  readonly inClear: string
  /** Where they arrive, the namespace. */
  arrival(two: LabNode): string
  readonly counter: string
}

const sendTo = (namespace: string, addresses: readonly string[], port: number): Promise<string> => {
  const words = addresses.map(address => `echo hello > /dev/udp/${address}/${port} || true`).join('; ')
  return must(inNamespace(namespace, ['bash', '-c', `for i in $(seq ${COUNT}); do ${words}; done`]))
}

const MASQUERADE = `
      chain post {
        type nat hook postrouting priority 100
        iifname veth-pod oifname eth0 masquerade
      }`

const paths: readonly Path[] = [
  {
    name: 'a pod’s packets to another node, masqueraded',
    translation: MASQUERADE,
    send: (_, one, two) => sendTo(one.pod.namespace, two.addresses, PORT),
    inClear: `udp dport ${PORT}`,
    arrival: two => two.namespace,
    counter: 'out_to_node',
  },
  {
    name: 'a pod’s packets to another pod, masqueraded',
    translation: MASQUERADE,
    send: (_, one, two) => sendTo(one.pod.namespace, two.pod.addresses, PORT),
    inClear: `udp dport ${PORT}`,
    arrival: two => two.pod.namespace,
    counter: 'out_to_pod',
  },
  {
    name: 'a client’s packets to a NodePort that leads to another node’s pod',
    translation: `
      chain pre {
        type nat hook prerouting priority -100
        meta nfproto ipv4 udp dport ${NODE_PORT} dnat ip to 10.244.2.10:${PORT}
        meta nfproto ipv6 udp dport ${NODE_PORT} dnat ip6 to [fd00:244:2::10]:${PORT}
      }
      chain post {
        type nat hook postrouting priority 100
        ct status dnat masquerade
      }`,
    send: (lab, one) => sendTo(lab.plan.switchNamespace, one.addresses, NODE_PORT),
    inClear: `udp dport ${PORT}`,
    arrival: two => two.pod.namespace,
    counter: 'out_to_pod',
  },
]

/** Counts what matches as it enters a namespace. @param family of nft: `bridge` for the underlay */
async function countIn(namespace: string, family: 'bridge' | 'inet', match: string): Promise<() => Promise<number>> {
  const ruleset = `
    table ${family} test_count {
      counter seen {}
      chain seeing {
        type filter hook prerouting priority -350
        ${match} counter name seen
      }
    }`
  await must(inNamespace(namespace, ['nft', '-f', '-']), { input: ruleset })
  return async () => {
    const text = await must(inNamespace(namespace, ['nft', 'list', 'counter', family, 'test_count', 'seen']))
    return Number(/packets (\d+)/.exec(text)?.[1])
  }
}

describeLab('address translation and the guard', meshNeeds, () => {
  test.each(paths)(
    '$name: in the tunnel while there is one; without one dropped under enforce, in clear without the guard',
    async ({ name, translation, send, inClear, arrival, counter }) => {
      await withGuardedMesh({ guard: 'off' }, async (lab, one, two) => {
        await must(inNamespace(one.namespace, ['nft', '-f', '-']), { input: `table inet test_nat {${translation}\n}` })
        const clear = await countIn(lab.plan.switchNamespace, 'bridge', inClear)
        const arrived = await countIn(arrival(two), 'inet', `udp dport ${PORT}`)
        const measure = async () => {
          const [before, there] = [await clear(), await arrived()]
          await send(lab, one, two)
          return { clear: async () => (await clear()) - before, arrived: async () => (await arrived()) - there }
        }
        const all = COUNT * lab.plan.families.length

        const encrypted = await measure()
        await waitFor(async () => (await encrypted.arrived()) === all, limit(10_000), 'all to arrive by the tunnel')
        expect(await encrypted.clear()).toBe(0)

        await setGuard(lab, 'enforce')
        const guarded = await measure()
        await waitFor(async () => (await guarded.arrived()) === all, limit(10_000), 'all to arrive under enforce')
        expect(await guarded.clear()).toBe(0)

        await one.agent.kill()
        await onNode(one, 'ip link del wireguard.cali; ip link del wg-v6.cali')
        const drops = await counted(one, [counter])
        const cut = await measure()
        await waitFor(async () => (await counted(one, [counter])) - drops >= all, limit(10_000), `${counter} to count`)
        const leaked = await cut.clear()

        await onNode(one, 'nft delete table inet podveil')
        const control = await measure()
        await waitFor(async () => (await control.clear()) > 0, limit(10_000), 'the control to be in clear')
        tell(name, { sent: all, leaked, control: await control.clear() })
        expect(leaked).toBe(0)
      })
    },
    caseLimit(60),
  )
})
