import { expect, test } from 'vitest'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { keptMesh } from './support/kept-mesh.ts'
import { Kubectl } from './support/kubectl.ts'
import { meshAnnotations } from './support/node-annotations.ts'
import { limit, meshNeeds } from './support/profile.ts'
import {
  nodeOf,
  onNode,
  turnOff,
  turnOn,
  untilClear,
  untilEncrypted,
  withEncryptedMesh,
  withMesh,
} from './support/with-mesh.ts'

/** Lines as a person sees them, without space at the ends. */
const lines = (text: string): string[] =>
  text
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '')

const withTwo = keptMesh({ nodes: 2 })

const KEY = /^[A-Za-z0-9+/]{43}=$/

describeLab('what an operator who knows Calico finds', meshNeeds, () => {
  test('rules and tables are Felix’s, and four rules and two tables beside them', async () => {
    await withEncryptedMesh({ nodes: 3 }, async lab => {
      const node = nodeOf(lab, 1)
      const show = async (command: string) => lines(await onNode(node, command))
      expect(await show('ip rule show pref 99')).toEqual(['99:\tnot from all fwmark 0x200000/0x200000 lookup 1'])
      expect(await show('ip -6 rule show pref 99')).toEqual(['99:\tnot from all fwmark 0x200000/0x200000 lookup 1'])
      expect(await show('ip route show table 1')).toEqual([
        'throw 10.244.1.0/24',
        '10.244.2.0/24 dev wireguard.cali scope link',
        '10.244.3.0/24 dev wireguard.cali scope link',
      ])
      expect(await show('ip -6 route show table 1')).toEqual([
        'throw fd00:244:1::/64 dev lo metric 1024 pref medium',
        'fd00:244:2::/64 dev wg-v6.cali metric 1024 pref medium',
        'fd00:244:3::/64 dev wg-v6.cali metric 1024 pref medium',
      ])

      expect(await show('ip rule show pref 98')).toEqual(['98:\tfrom all oif wireguard.cali lookup 3'])
      expect(await show('ip rule show pref 100')).toEqual([
        '100:\tfrom 10.244.1.0/24 fwmark 0/0x200000 lookup 2',
        '100:\tfrom all fwmark 0x200000/0x200000 iif wireguard.cali lookup 1',
        '100:\tfrom all fwmark 0x200000/0x200000 iif wireguard.cali lookup 2',
      ])
      expect(await show('ip -6 rule show pref 98')).toEqual(['98:\tfrom all oif wg-v6.cali lookup 3'])
      expect(await show('ip -6 rule show pref 100')).toEqual([
        '100:\tfrom fd00:244:1::/64 fwmark 0/0x200000 lookup 2',
        '100:\tfrom all fwmark 0x200000/0x200000 iif wg-v6.cali lookup 1',
        '100:\tfrom all fwmark 0x200000/0x200000 iif wg-v6.cali lookup 2',
      ])
      expect(await show('ip route show table 2')).toEqual([
        '10.200.0.12 dev wireguard.cali scope link',
        '10.200.0.13 dev wireguard.cali scope link',
      ])
      expect(await show('ip -6 route show table 2')).toEqual([
        'fd00:200::12 dev wg-v6.cali metric 1024 pref medium',
        'fd00:200::13 dev wg-v6.cali metric 1024 pref medium',
      ])
      expect(await show('ip route show table 3')).toEqual(['default dev wireguard.cali scope link'])
      expect(await show('ip -6 route show table 3')).toEqual(['default dev wg-v6.cali metric 1024 pref medium'])

      // Or systemd-networkd takes them away.
      for (const rule of await show(
        'for family in 4 6; do for at in 98 99 100; do ip -d -$family rule show pref $at; done; done',
      ))
        expect(rule).toMatch(/ proto kernel$/)
      // As Felix's deviceRouteProtocol is by default.
      for (const route of await show('ip -d route show table 1')) expect(route).toMatch(/ proto boot /)
    })
  })

  test('devices have Felix’s names, ports, mark, MTU and a single address', async () => {
    await withTwo(async lab => {
      const [node, peer] = [nodeOf(lab, 1), nodeOf(lab, 2)]
      const link = async (name: string) => onNode(node, `ip -o link show ${name}`)
      expect(await link('wireguard.cali')).toMatch(/[<,]UP[,>].* mtu 1440 /)
      expect(await link('wg-v6.cali')).toMatch(/[<,]UP[,>].* mtu 1420 /)
      const addresses = async (name: string) =>
        lines(await onNode(node, `ip -o address show dev ${name} scope global`)).map(line => line.split(/\s+/)[3])
      expect(await addresses('wireguard.cali')).toEqual(['10.244.1.1/32'])
      expect(await addresses('wg-v6.cali')).toEqual(['fd00:244:1::1/128'])

      const of = async (name: string) => {
        const [device, ...peers] = lines(await onNode(node, `wg show ${name} dump`)).map(line => line.split('\t'))
        const [, publicKey, port, mark] = device ?? []
        return { publicKey, port, mark, peers }
      }
      const four = await of('wireguard.cali')
      const six = await of('wg-v6.cali')
      expect(four).toMatchObject({ port: '51820', mark: '0x200000' })
      expect(six).toMatchObject({ port: '51821', mark: '0x200000' })
      expect(four.publicKey).toMatch(KEY)
      expect(six.publicKey).toMatch(KEY)

      const theirs = await meshAnnotations(lab, peer.name)
      const [[key4, preshared, endpoint4, allowed4 = ''] = [], ...more4] = four.peers
      expect([key4, preshared, endpoint4, more4]).toEqual([
        theirs['projectcalico.org/WireguardPublicKey'],
        '(none)',
        '10.200.0.12:51820',
        [],
      ])
      // What of them are not Felix's are the node's own address and the device's.
      expect(allowed4.split(',').toSorted()).toEqual(['10.200.0.12/32', '10.244.2.0/24', '10.244.2.1/32'])
      const [[key6, , endpoint6, allowed6 = ''] = []] = six.peers
      expect([key6, endpoint6]).toEqual([theirs['projectcalico.org/WireguardPublicKeyV6'], '[fd00:200::12]:51821'])
      expect(allowed6.split(',').toSorted()).toEqual(['fd00:200::12/128', 'fd00:244:2::/64', 'fd00:244:2::1/128'])
    })
  })

  test('every Node carries its keys and addresses while encryption is on, and nothing of it after', async () => {
    await withTwo(async lab => {
      const node = nodeOf(lab, 2)
      const keys = lines(await onNode(node, 'wg show wireguard.cali public-key; wg show wg-v6.cali public-key'))
      expect(await meshAnnotations(lab, node.name)).toEqual({
        'projectcalico.org/WireguardPublicKey': keys[0],
        'projectcalico.org/WireguardPublicKeyV6': keys[1],
        'projectcalico.org/IPv4WireguardInterfaceAddr': '10.244.2.1',
        'projectcalico.org/IPv6WireguardInterfaceAddr': 'fd00:244:2::1',
        'podveil.io/wireguard-port': '51820',
        'podveil.io/wireguard-port-v6': '51821',
        'podveil.io/hello': '1',
        'podveil.io/addresses': '10.200.0.12,fd00:200::12',
        'podveil.io/pod-cidrs': '10.244.2.0/24,fd00:244:2::/64',
        'podveil.io/self-described': 'true',
      })
      await turnOff(lab)
      await waitFor(
        async () => expect(await meshAnnotations(lab, node.name)).toEqual({}) ?? true,
        limit(10_000),
        'the annotations to be withdrawn',
      )
    })
  })

  test('each family has its own switch', async () => {
    await withTwo(async lab => {
      await turnOff(lab)
      const node = nodeOf(lab, 1)
      await lab.patchFelix({ wireguardEnabledV6: true })
      const only = async (family: number) => {
        const steering = await lab.steering()
        return steering.every(one => one.encrypted === (one.family === family))
      }
      await waitFor(() => only(6), limit(20_000), 'IPv6 to be encrypted, and IPv6 alone')
      // What was encrypted before lingers a while.
      await waitFor(
        async () => expect(await onNode(node, 'wg show interfaces')).toBe('wg-v6.cali\n') ?? true,
        limit(30_000),
        'the device of IPv4 to go',
      )
      expect(Object.keys(await meshAnnotations(lab, node.name))).not.toContain('projectcalico.org/WireguardPublicKey')
      await lab.patchFelix({ wireguardEnabled: true, wireguardEnabledV6: false })
      await waitFor(() => only(4), limit(20_000), 'IPv4 to be encrypted, and IPv4 alone')
    })
  })

  test('names, ports, priority, MTU and mark of the FelixConfiguration are used', async () => {
    await withMesh({ nodes: 2, families: '4' }, async lab => {
      const node = nodeOf(lab, 1)
      await lab.patchFelix({
        wireguardInterfaceName: 'wg-mine',
        wireguardListeningPort: 51825,
        wireguardRoutingRulePriority: 150,
        wireguardMTU: 1380,
        routeTableRanges: [{ min: 40, max: 60 }],
        iptablesMarkMask: 0xff,
      })
      await turnOn(lab)
      expect(lines(await onNode(node, 'ip rule show pref 150'))).toEqual([
        '150:\tnot from all fwmark 0x20/0x20 lookup 40',
      ])
      expect(lines(await onNode(node, 'ip route show table 40'))).toContain('10.244.2.0/24 dev wg-mine scope link')
      expect(await onNode(node, 'ip -o link show wg-mine')).toMatch(/ mtu 1380 /)
      expect(await onNode(node, 'wg show wg-mine listen-port; wg show wg-mine fwmark')).toBe('51825\n0x20\n')
      expect(await onNode(node, 'wg show wg-mine endpoints')).toMatch(/\t10\.200\.0\.12:51825\n$/)
      expect(await onNode(node, 'ip rule')).not.toMatch(/^99:/m)
    })
  })
})

describeLab(
  'what an operator does with kubectl',
  { ...meshNeeds, programs: [...(meshNeeds.programs ?? []), 'kubectl'] },
  () => {
    test('a patch turns encryption on and off, and `get nodes -w` shows the keys come', async () => {
      await withTwo(async lab => {
        await turnOff(lab)
        using kubectl = new Kubectl(lab)
        const patch = (enabled: boolean) =>
          kubectl.run(
            ...['patch', 'felixconfiguration', 'default', '--type=merge', '-p'],
            JSON.stringify({ spec: { wireguardEnabled: enabled, wireguardEnabledV6: enabled } }),
          )
        const keys =
          '-o=custom-columns=NAME:.metadata.name,KEY:.metadata.annotations.projectcalico\\.org/WireguardPublicKey'
        const seen = await kubectl.watch(
          ['get', 'nodes', 'node-2', '-w', keys],
          async () => void (await patch(true)),
          line => !line.endsWith('KEY') && !line.endsWith('<none>'),
        )
        expect(seen[1]).toMatch(/^node-2\s+<none>$/)
        expect(seen.at(-1)?.split(/\s+/)[1]).toMatch(KEY)
        await untilEncrypted(lab)

        const yaml = await kubectl.run('get', 'nodes', '-o', 'yaml')
        for (const node of lab.nodes)
          expect(yaml).toContain((await onNode(node, 'wg show wireguard.cali public-key')).trim())
        expect(lines(await kubectl.run('get', 'felixconfigurations', '-o', 'name'))).toEqual([
          'felixconfiguration.crd.projectcalico.org/default',
        ])
        await patch(false)
        await untilClear(lab)
      })
    })
  },
)
