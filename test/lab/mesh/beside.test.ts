import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { events } from '../cli/podveil.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { AgentLog } from './support/agent-log.ts'
import { CARELESS_DEVICE, makeDevice } from './support/careless-tunnel.ts'
import { startFelix, stopFelix } from './support/felix.ts'
import { keptMesh } from './support/kept-mesh.ts'
import { limit, meshNeeds } from './support/profile.ts'
import { expectEncrypted } from './support/sources.ts'
import { nodeOf, onNode, turnOff, turnOn, untilEncrypted, withMesh } from './support/with-mesh.ts'

/** Returns when the agent says that it cannot go on, in these words. */
const untilRefused = (node: LabNode, words: RegExp): Promise<unknown> =>
  waitFor(
    async () => words.test((await node.agent.http('/readyz')).body),
    limit(15_000),
    `${node.name} to say ${words}`,
  )

const untilTold = (lab: Lab, words: RegExp): Promise<unknown> =>
  waitFor(async () => (await events(lab)).some(event => words.test(event)), limit(15_000), `an Event ${words}`)

describeLab('beside others on the node', meshNeeds, () => {
  test('a table that somebody uses is left alone until it is free', async () => {
    await withMesh({ nodes: 2, families: '4' }, async lab => {
      const one = nodeOf(lab, 1)
      await onNode(one, 'ip route add 10.99.0.0/16 dev eth0 table 2')
      await lab.setEncryption(true)
      await untilRefused(one, /table 2 is in use.*routeTableRanges/)
      expect(await onNode(one, 'ip route show table 2')).toContain('10.99.0.0/16')
      expect(await onNode(one, 'ip rule')).not.toContain('fwmark')
      await onNode(one, 'ip route del 10.99.0.0/16 dev eth0 table 2')
      await untilEncrypted(lab)
      await expectEncrypted(lab, one.pod, podOf(lab, 2))
    })
  })

  test('Felix that encrypts on the node itself keeps its device until it is told not to', async () => {
    await withMesh({ nodes: 2, families: '4' }, async lab => {
      const one = nodeOf(lab, 1)
      await startFelix(lab, one)
      const key = await onNode(one, 'wg show wireguard.cali public-key')
      await lab.setEncryption(true)
      await untilRefused(one, /FELIX_WIREGUARDENABLED=false/)
      expect(await onNode(one, 'wg show wireguard.cali public-key')).toBe(key)
      await stopFelix(lab, one)
      await untilEncrypted(lab)
      expect(await onNode(one, 'wg show wireguard.cali public-key')).not.toBe(key)
      await expectEncrypted(lab, one.pod, podOf(lab, 2))
    })
  })
})

describeLab('a mesh that is encrypted, beside others on the node', meshNeeds, () => {
  // What is somebody else's is looked for when the kernel is read anew.
  const withMesh = keptMesh({ nodes: 2, families: '4' }, lab => lab.patchFelix({ routeRefreshInterval: '2s' }))

  test('leaves a rule at its priority alone and tells of it', async () => {
    await withMesh(async lab => {
      const one = nodeOf(lab, 1)
      await onNode(one, 'ip rule add pref 100 to 10.99.0.0/16 lookup main')
      await untilTold(lab, /node-1 ConfigurationRefused .*priority of ours.*wireguardRoutingRulePriority/)
      expect(await onNode(one, 'ip rule show pref 100')).toContain('10.99.0.0/16')
      await expectEncrypted(lab, one.pod, podOf(lab, 2))
      await onNode(one, 'ip rule del pref 100 to 10.99.0.0/16 lookup main')
    })
  })

  test('leaves a packet filter that changes its mark alone and tells of it (control: of one that changes another mark it does not)', async () => {
    await withMesh(async lab => {
      const one = nodeOf(lab, 1)
      const chain = 'chain marks { type filter hook prerouting priority mangle; ip saddr 10.99.0.0/16'
      await onNode(
        one,
        `nft 'table ip test_other { ${chain} meta mark set meta mark | 0x400000; }; }
          table ip test_marks { ${chain} meta mark set meta mark | 0x200000; }; }'`,
      )
      await untilTold(
        lab,
        /node-1 ConfigurationRefused .*uses our mark 0x200000, in chain marks of table ip test_marks.*iptablesMarkMask/,
      )
      expect((await events(lab)).filter(event => event.includes('test_other'))).toEqual([])
      expect(await onNode(one, 'nft list table ip test_marks')).toMatch(/meta mark set/)
      await expectEncrypted(lab, one.pod, podOf(lab, 2))
      await onNode(one, 'nft delete table ip test_marks; nft delete table ip test_other')
    })
  })

  test('leaves a rule that looks at its mark alone and tells of it (control: of one that looks at another mark it does not)', async () => {
    await withMesh(async lab => {
      const one = nodeOf(lab, 1)
      await onNode(one, 'ip rule add pref 49 fwmark 0x400000/0x400000 lookup 77')
      await onNode(one, 'ip rule add pref 50 fwmark 0x200000/0x200000 lookup 77')
      await untilTold(lab, /node-1 ConfigurationRefused .*looks at our mark 0x200000.*iptablesMarkMask/)
      expect((await events(lab)).filter(event => event.includes('0x400000'))).toEqual([])
      expect(await onNode(one, 'ip rule show pref 50')).toContain('lookup 77')
      await expectEncrypted(lab, one.pod, podOf(lab, 2))
      await onNode(one, 'ip rule del pref 49; ip rule del pref 50')
    })
  })

  test('leaves another WireGuard device and its tunnel alone, when it is turned off and on as well', async () => {
    await withMesh(async lab => {
      const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
      const port = 51_999
      const keys = [await makeDevice(one, port), await makeDevice(two, port)] as const
      for (const [from, to, key] of [
        [one, two, keys[1]],
        [two, one, keys[0]],
      ] as const)
        await onNode(
          from,
          `wg set ${CARELESS_DEVICE} peer ${key} endpoint ${to.addresses[0]}:${port} allowed-ips 10.99.0.${to.plan.index}/32
           ip address add 10.99.0.${from.plan.index}/24 dev ${CARELESS_DEVICE}`,
        )
      const reaches = async () => (await one.exec(['ping', '-n', '-c', '1', '-W', '5', '10.99.0.2'])).status === 0
      const shown = () => onNode(one, `wg show ${CARELESS_DEVICE} | grep -E "key|port|peer|endpoint|allowed"`)
      expect(await reaches()).toBe(true)
      const before = await shown()
      await turnOff(lab)
      expect(await reaches()).toBe(true)
      await turnOn(lab)
      expect(await reaches()).toBe(true)
      expect(await shown()).toBe(before)
      await expectEncrypted(lab, one.pod, podOf(lab, 2))
      for (const node of [one, two]) await onNode(node, `ip link del ${CARELESS_DEVICE}`)
    })
  })

  test('keeps its rules, and has its routes back at once, when systemd-networkd starts (control: another program’s rule goes)', async () => {
    await withMesh(async lab => {
      const one = nodeOf(lab, 1)
      const log = new AgentLog(one)
      await onNode(one, 'ip rule add pref 55 from 10.9.9.9 lookup 77 protocol static')
      // What it takes for left over: rules of any protocol but the kernel's, and routes of those that are configured by hand.
      await onNode(
        one,
        `ip -details -oneline rule show | grep -v "proto kernel" | grep -vE "lookup (local|main|default)" | cut -d : -f 1 |
           while read pref; do ip rule del pref $pref; done
         for protocol in boot static; do ip route flush table 1 proto $protocol; ip route flush table 2 proto $protocol; done`,
      )
      expect(await onNode(one, 'ip rule show pref 55')).toBe('')
      await log.says(/somebody else removed route .*10\.244\.2\.0\/24/)
      await untilEncrypted(lab)
      await expectEncrypted(lab, one.pod, podOf(lab, 2))
      expect(log.text).not.toMatch(/somebody else removed IPv4 rule/)
    })
  })

  test('has its device as it was after NetworkManager has taken it over and let it go', async () => {
    await withMesh(async lab => {
      const one = nodeOf(lab, 1)
      const log = new AgentLog(one)
      // A flush gives up where each address is back at once.
      await onNode(
        one,
        'ip link set wireguard.cali down; ip address flush dev wireguard.cali || true; ip link set wireguard.cali mtu 1420',
      )
      await log.says(/somebody else set wireguard\.cali down/)
      await untilEncrypted(lab)
      await expectEncrypted(lab, one.pod, podOf(lab, 2))
    })
  })
})

const podOf = (lab: Lab, index: number): string => nodeOf(lab, index).pod.addresses[0] ?? ''
