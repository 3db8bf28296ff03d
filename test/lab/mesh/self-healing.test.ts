import { afterAll, expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { tell } from '../guard/support/tell.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { AgentLog } from './support/agent-log.ts'
import { keptMesh } from './support/kept-mesh.ts'
import { comparable, kernelState, settledState } from './support/kernel-state.ts'
import { expectNoLoss, measureLoss } from './support/loss.ts'
import { limit, meshNeeds, profile } from './support/profile.ts'
import { expectTunnelled } from './support/underlay.ts'
import { nodeOf, onNode, untilEncrypted } from './support/with-mesh.ts'

interface Damage {
  readonly name: string
  /** Shell, run on the node. */
  readonly script: string
  /** What the agent says that it found. */
  readonly said: RegExp
}

/** What the kernel tells of as it happens. */
const TOLD: readonly Damage[] = [
  { name: 'a device is deleted', script: 'ip link del wireguard.cali', said: /somebody else deleted wireguard\.cali/ },
  {
    name: 'a device is set down',
    script: 'ip link set wireguard.cali down',
    said: /somebody else set wireguard\.cali down/,
  },
  {
    name: 'a device is renamed',
    // Before Linux 6.2 what is up cannot be.
    script: 'ip link set wireguard.cali name wg-other || ip link set wireguard.cali down name wg-other',
    said: /somebody else renamed wireguard\.cali to wg-other/,
  },
  {
    name: 'the MTU is changed',
    script: 'ip link set wg-v6.cali mtu 1300',
    said: /somebody else changed the MTU of wg-v6\.cali/,
  },
  {
    name: 'a device’s address is removed',
    script: 'ip address del 10.244.1.1/32 dev wireguard.cali',
    said: /somebody else removed address 10\.244\.1\.1/,
  },
  {
    name: 'a route is removed',
    script: 'ip -6 route del fd00:244:2::/64 table 1',
    said: /somebody else removed route .*fd00:244:2::\/64/,
  },
  {
    name: 'a route is replaced',
    script: 'ip route replace 10.244.2.0/24 via 10.200.0.12 table 1',
    said: /somebody else .*route .*10\.244\.2\.0\/24/,
  },
  {
    name: 'a table is flushed',
    script: 'ip route flush table 1',
    said: /somebody else removed route .*10\.244\.2\.0\/24/,
  },
  { name: 'Felix’s rule is removed', script: 'ip rule del pref 99', said: /somebody else removed IPv4 rule 99/ },
  {
    name: 'somebody else’s rule leads to our table',
    script: 'ip rule add pref 50 from 10.9.9.9 lookup 1',
    said: /somebody else added IPv4 rule 50/,
  },
  {
    name: 'the nftables table is deleted',
    script: 'nft delete table inet podveil',
    said: /somebody else changed the nftables table podveil/,
  },
  {
    name: 'a chain of it is flushed',
    script: 'nft flush chain inet podveil mark_clear',
    said: /somebody else changed the nftables table podveil/,
  },
]

/** The same in other places, for those who have the time. */
const TOLD_TOO: readonly Damage[] = [
  {
    name: 'the device of IPv6 is deleted',
    script: 'ip link del wg-v6.cali',
    said: /somebody else deleted wg-v6\.cali/,
  },
  {
    name: 'the rule for nodes is removed',
    script: 'ip -6 rule del pref 100',
    said: /somebody else removed IPv6 rule 100/,
  },
  {
    name: 'all rules of nftables are flushed',
    script: 'nft flush ruleset',
    said: /somebody else changed the nftables table podveil/,
  },
]

/** What no event tells of is found by the next look, ten seconds later at most. */
const UNTOLD = [
  'wg set wireguard.cali peer "$(wg show wireguard.cali peers)" remove',
  'wg set wg-v6.cali peer "$(wg show wg-v6.cali peers)" allowed-ips fd00:9::/64',
]

const SYSCTLS = [
  'echo 1 > /proc/sys/net/ipv4/conf/wireguard.cali/rp_filter',
  'echo 0 > /proc/sys/net/ipv4/conf/all/src_valid_mark',
]

/** What is to be there again. */
const settled = async (node: LabNode) => comparable(await settledState(node))

const present = async (node: LabNode) => comparable(await kernelState(node))

async function untilLike(before: Record<string, string>, node: LabNode, limitMs: number): Promise<void> {
  const look = async () => {
    const now = await present(node)
    for (const [name, text] of Object.entries(now)) expect(text, name).toBe(before[name])
    return true
  }
  await waitFor(look, limitMs, 'the repair')
}

const auditEvery = (interval: string) => (lab: Lab) => lab.patchFelix({ routeRefreshInterval: interval })
const withMesh = keptMesh({ nodes: 2, rpFilter: 1 }, auditEvery('90s'))

describeLab('what somebody else changes in the kernel', meshNeeds, () => {
  /** Milliseconds from before the damage until a look found all as it was, a dozen programs a look. */
  const repairs: number[] = []
  afterAll(() => tell('repairs, ms', { all: repairs.toSorted((a, b) => a - b) }))

  test.each([...TOLD, ...(profile.long ? TOLD_TOO : [])])(
    'is repaired within a second, and said: $name',
    async ({ script, said }) => {
      await withMesh(async lab => {
        const node = nodeOf(lab, 1)
        const before = await settled(node)
        const log = new AgentLog(node)
        const damaged = performance.now()
        await onNode(node, script)
        await untilLike(before, node, limit(1_000))
        repairs.push(Math.round(performance.now() - damaged))
        await log.says(said, limit(10_000))
        await untilEncrypted(lab)
      })
    },
  )

  test('is found and repaired within ten seconds where the kernel does not tell: peers, and what they may send', async () => {
    await withMesh(async lab => {
      const node = nodeOf(lab, 1)
      const before = await settled(node)
      const log = new AgentLog(node)
      // In one go with the look, as the agent may look at any moment.
      const damaged = await onNode(node, [...UNTOLD, 'wg show all allowed-ips'].join('\n'))
      expect(damaged).not.toMatch(/^wireguard\.cali/m)
      expect(damaged).toMatch(/^wg-v6\.cali\t\S+\tfd00:9::\/64$/m)
      await untilLike(before, node, limit(12_000))
      await log.says(/somebody else removed peer \S{8} from wireguard\.cali/, limit(10_000))
      await log.says(/somebody else changed what peer \S{8} of wg-v6\.cali may send: \+fd00:9::/, limit(10_000))
      expect((await lab.reachability({ waitSeconds: limit(10_000) / 1_000 })).unreachable).toEqual([])
    })
  })

  test('is found and repaired by the audit: sysctls', async () => {
    await withMesh(async lab => {
      const node = nodeOf(lab, 1)
      const before = await settled(node)
      const log = new AgentLog(node)
      expect(await onNode(node, SYSCTLS.join('; '))).toBe('')
      expect((await present(node)).sysctls).not.toBe(before.sysctls)
      await auditEvery('2s')(lab)
      await untilLike(before, node, limit(15_000))
      await log.says(/somebody else set net\/ipv4\/conf\/wireguard\.cali\/rp_filter to 1/, limit(10_000))
      await log.says(/somebody else set net\/ipv4\/conf\/all\/src_valid_mark to 0/, limit(10_000))
    })
  })

  test('is not touched where it is not ours', async () => {
    await withMesh(async lab => {
      const node = nodeOf(lab, 1)
      await onNode(
        node,
        [
          'ip rule add pref 60 from 10.9.9.9 lookup 77',
          'ip route add 10.9.9.0/24 dev lo table 77',
          'ip -6 route add fd00:99::/64 dev lo table 77',
          'ip address add 10.9.9.9/32 dev lo',
          'nft add table inet somebody',
        ].join('\n'),
      )
      const foreign = () =>
        onNode(
          node,
          'ip rule show pref 60; ip route show table 77; ip -6 route show table 77; ip -o address show lo; nft list tables',
        )
      const before = await foreign()
      // Something of ours is repaired beside it.
      await onNode(node, 'ip rule del pref 99')
      await waitFor(async () => (await onNode(node, 'ip rule show pref 99')) !== '', limit(3_000), 'the repair')
      await lab.setEncryption(false)
      await waitFor(
        async () => (await onNode(node, 'ip -o link')).includes('.cali') === false,
        limit(30_000),
        'the devices to go',
      )
      expect(await foreign()).toBe(before.replace(/^table inet podveil\n/m, ''))
    })
  })
})

describeLab('an agent that is not there', meshNeeds, () => {
  test('repairs nothing, and all of it when it is back', async () => {
    await withMesh(async lab => {
      const node = nodeOf(lab, 1)
      const before = await settled(node)
      await node.agent.kill('SIGKILL')
      await onNode(node, 'ip rule del pref 99; ip -6 route flush table 1; nft delete table inet podveil')
      expect(await present(node)).not.toEqual(before)
      await node.agent.start()
      await untilLike(before, node, limit(15_000))
      expectNoLoss(await measureLoss(lab, () => expectTunnelled(lab), Math.min(50, profile.rate)))
    })
  })
})
