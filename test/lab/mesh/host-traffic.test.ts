import { expect, test } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import { clearPodFrames, underlayDelta, wireguardFrames } from '#src/lab/underlay-watch.ts'
import { type Family, familyOf, parseAddress } from '#wg/ip.ts'
import { withGuardedMesh } from '../guard/support/cluster.ts'
import { describeLab } from '../harness/requirements.ts'
import { OpenSockets } from './support/open-sockets.ts'
import { caseLimit, meshNeeds } from './support/profile.ts'
import {
  ask,
  HOST_NODE_PORT,
  MASQUERADED_PORT,
  NODE_PORT,
  PORT,
  SERVICES,
  serveEverywhere,
  TRANSLATED_PORT,
} from './support/services.ts'
import { expectTunnelled, watchUnderlay } from './support/underlay.ts'
import { nodeOf, onNode, turnOn, untilEncrypted, untilPairEncrypted, withMesh } from './support/with-mesh.ts'

interface Path {
  readonly name: string
  readonly from: string
  readonly to: string
  readonly port: number
  /** Part of the way is from host to host, where no end is a pod. */
  readonly hosts?: true
}

const LED_ON = 'pod to a NodePort of another node, which leads to a host-networked pod on a third one'

/** Ways on which one end is a pod and the other a host, or on which hosts translate addresses. */
function pathsOf(lab: Lab, family: Family): readonly Path[] {
  const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
  const at = (addresses: readonly string[]) => addresses.find(each => familyOf(parseAddress(each)) === family) ?? ''
  const service = SERVICES[family]
  const pod = { 1: one.pod.namespace, 3: three.pod.namespace }
  return [
    { name: 'pod to host-networked pod', from: pod[1], to: at(two.addresses), port: PORT },
    { name: 'pod to host-networked pod, masqueraded', from: pod[1], to: at(two.addresses), port: MASQUERADED_PORT },
    { name: 'pod to a service of a host-networked pod', from: pod[1], to: service.host, port: 80 },
    { name: 'pod to a service of a pod', from: pod[1], to: service.pod, port: 80 },
    { name: 'host to pod', from: one.namespace, to: at(two.pod.addresses), port: PORT },
    {
      name: 'host to pod, from the node’s own address',
      from: one.namespace,
      to: at(two.pod.addresses),
      port: TRANSLATED_PORT,
    },
    // The answer goes from host to host: that it is for a pod only the first node knows.
    {
      name: 'pod to host-networked pod, from the node’s own address',
      from: pod[1],
      to: at(two.addresses),
      port: TRANSLATED_PORT,
      hosts: true,
    },
    { name: 'host to a service of a pod', from: one.namespace, to: service.pod, port: 80 },
    { name: 'host to a service of a pod, masqueraded', from: one.namespace, to: service.masqueraded, port: 80 },
    { name: 'pod to a NodePort of its own node', from: pod[1], to: at(one.addresses), port: NODE_PORT },
    { name: 'pod to a NodePort of another node', from: pod[3], to: at(one.addresses), port: NODE_PORT },
    {
      name: LED_ON,
      from: pod[3],
      to: at(one.addresses),
      port: HOST_NODE_PORT,
    },
    {
      name: 'host to a NodePort of another node',
      from: three.namespace,
      to: at(one.addresses),
      port: NODE_PORT,
      hosts: true,
    },
    {
      name: 'client to a NodePort',
      from: lab.plan.switchNamespace,
      to: at(one.addresses),
      port: NODE_PORT,
      hosts: true,
    },
  ]
}

interface Seen {
  readonly path: string
  readonly answered: boolean
  readonly clear: number
  readonly tunnelled: boolean
  /** Frames between hosts, where there should be none. */
  readonly strange: number
}

async function tryAll(lab: Lab): Promise<Seen[]> {
  const seen: Seen[] = []
  const paths = lab.plan.families.flatMap(family => pathsOf(lab, family).map(path => ({ ...path, family })))
  // Last those with frames between hosts: what comes late of one is not taken for another's.
  const inTurn = [...paths.filter(({ hosts }) => !hosts), ...paths.filter(({ hosts }) => hosts)]
  for (const { family, name, from, to, port, hosts } of inTurn) {
    const before = await lab.underlay.snapshot()
    const answer = await ask(from, to, port)
    const delta = underlayDelta(before, await lab.underlay.snapshot())
    seen.push({
      path: `IPv${family}: ${name}`,
      answered: answer !== undefined,
      clear: clearPodFrames(delta),
      tunnelled: wireguardFrames(delta) > 0,
      strange: hosts ? 0 : delta.other.packets,
    })
  }
  return seen
}

describeLab('where one end is a host, or a host translates addresses', meshNeeds, () => {
  test.each([
    [0, 'nftables'],
    [1, 'iptables'],
  ] as const)(
    'all is reached as before, and what has a pod at one end is encrypted (reverse-path filter %d, kube-proxy’s rules of %s)',
    async (rpFilter, mode) => {
      await withMesh({ nodes: 3, rpFilter }, async lab => {
        await serveEverywhere(lab, mode)
        const off = await tryAll(lab)
        // Control: every way works without Podveil, and nothing of it is encrypted.
        expect(off.filter(({ answered, tunnelled }) => !answered || tunnelled)).toEqual([])
        await turnOn(lab)
        const on = await tryAll(lab)
        const good = { answered: true, clear: 0, tunnelled: true, strange: 0 }
        expect(on).toEqual(on.map(({ path }) => ({ path, ...good })))
        expect(on.length).toBeGreaterThan(20)
      })
    },
    caseLimit(120),
  )

  test('what a node leads on for a pod elsewhere is encrypted under enforce, by the rule that looks for its mark', async () => {
    await withGuardedMesh({ nodes: 3, rpFilter: 1, guard: 'enforce' }, async (lab, one) => {
      await serveEverywhere(lab)
      const ledOn = async () => (await tryAll(lab)).filter(({ path }) => path.includes(LED_ON))
      expect(await ledOn()).toMatchObject([4, 6].map(() => ({ answered: true, tunnelled: true, strange: 0 })))
      await one.agent.kill()
      await onNode(
        one,
        'ip rule del pref 100 iif wireguard.cali lookup 2; ip -6 rule del pref 100 iif wg-v6.cali lookup 2',
      )
      expect(await ledOn()).toMatchObject([4, 6].map(() => ({ answered: false, strange: 0 })))
      await onNode(one, 'nft delete table inet podveil')
      const clear = await ledOn()
      expect(clear).toMatchObject([4, 6].map(() => ({ strange: expect.any(Number) })))
      for (const { strange } of clear) expect(strange).toBeGreaterThan(0)
    })
  })

  test('a host that has lost its tunnel is answered all the same where it asks a NodePort of another node', async () => {
    await withMesh({ nodes: 3 }, async lab => {
      await serveEverywhere(lab)
      await turnOn(lab)
      const [one, three] = [nodeOf(lab, 1), nodeOf(lab, 3)]
      await three.agent.kill()
      await onNode(three, 'ip link del wireguard.cali; ip link del wg-v6.cali')
      // The other does not know of it.
      expect(await onNode(one, 'ip route show table 2; ip -6 route show table 2')).toMatch(/\.13 dev.*::13 dev/s)
      const answers = await Promise.all(one.addresses.map(address => ask(three.namespace, address, NODE_PORT)))
      expect(answers).toEqual(answers.map(() => expect.any(String)))
    })
  })

  test('what sockets of a host that were open before send to pods is encrypted too, peer after peer', async () => {
    await withMesh({ nodes: 3 }, async lab => {
      const [one, , three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
      // It comes last, when rules and the way to the other are there already.
      await three.agent.kill()
      await using _ = await OpenSockets.open(lab, one)
      const clear = await watchUnderlay(lab)
      for (const family of lab.plan.families) expect(clear[`podClear${family}`].packets).toBeGreaterThan(0)
      await lab.setEncryption(true)
      await untilPairEncrypted(lab, ['pod-1', 'pod-2'])
      await three.agent.start()
      await untilEncrypted(lab)
      await expectTunnelled(lab)
    })
  })
})
