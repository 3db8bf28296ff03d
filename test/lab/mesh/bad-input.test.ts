import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { withLab } from '../harness/with-lab.ts'
import { AgentLog } from './support/agent-log.ts'
import { ForegroundAgent } from './support/foreground-agent.ts'
import { keptMesh } from './support/kept-mesh.ts'
import { kernelState, settledState } from './support/kernel-state.ts'
import { expectNoLoss, measureLoss } from './support/loss.ts'
import { meshAnnotations } from './support/node-annotations.ts'
import { limit, meshNeeds, profile } from './support/profile.ts'
import { expectTunnelled, watchUnderlay } from './support/underlay.ts'
import {
  allReady,
  nodeOf,
  onNode,
  turnOn,
  untilEncrypted,
  untilPairEncrypted,
  withEncryptedMesh,
} from './support/with-mesh.ts'

/** Enough to see a loss, and little enough for what is about something else. */
const RATE = Math.min(100, profile.rate)

/** No node has it: it is for documentation. */
const ELSEWHERE = '192.0.2.1'

const readiness = async (lab: Lab, index: number): Promise<string> =>
  (await nodeOf(lab, index).agent.http('/readyz')).body

const sameLine = (text: string): string[] => text.trimEnd().split('\n')

const withTwo = keptMesh({ nodes: 2 }, lab => lab.patchFelix({ wireguardMTU: null }))

describeLab('an agent that cannot start', meshNeeds, () => {
  test.each([
    {
      what: 'is missing',
      name: 'missing',
      text: undefined,
      said: /missing.* cannot be read .*--kubeconfig.*KUBECONFIG/,
    },
    { what: 'is no kubeconfig', name: 'garbage', text: '{{{ not a kubeconfig', said: /garbage.* is not a kubeconfig/ },
  ])('says in one line what to do, and ends with 1, where its kubeconfig $what', async ({ name, text, said }) => {
    await withLab({ agents: false, nodes: 1 }, async lab => {
      const node = nodeOf(lab, 1)
      const kubeconfig = join(node.agent.stateDirectory, name)
      if (text !== undefined) writeFileSync(kubeconfig, text)
      await using agent = new ForegroundAgent(lab, node, { kubeconfig })
      expect(await agent.ends()).toBe(1)
      expect(sameLine(agent.stderr)).toEqual([expect.stringMatching(said)])
      expect(agent.stdout).toBe('')
    })
  })

  test('says which port is taken, or which address is not the node’s, ends with 1, and leaves alone the agent that runs', async () => {
    await withTwo(async lab => {
      const node = nodeOf(lab, 1)
      const before = await settledState(node)
      for (const [ports, said] of [
        [{}, /health port 9180 is in use.*--health-port/],
        [{ healthPort: 9280 }, /metrics port 9181 is in use.*--metrics-port/],
        [{ env: { PODVEIL_HEALTH_ADDRESS: ELSEWHERE } }, /192\.0\.2\.1 is no address of this node.*--health-address/],
        [
          { healthPort: 9280, env: { PODVEIL_METRICS_ADDRESS: ELSEWHERE } },
          /192\.0\.2\.1 is no address of this node.*--metrics-address/,
        ],
      ] as const) {
        await using agent = new ForegroundAgent(lab, node, ports)
        expect(await agent.ends()).toBe(1)
        expect(sameLine(agent.stderr)).toEqual([expect.stringMatching(said)])
      }
      expect(await kernelState(node)).toEqual(before)
      await node.agent.ready()
      expect(await node.agent.metrics()).toContain('wireguard_meta{')
    })
  })
})

describeLab('an agent that lacks something keeps trying', meshNeeds, () => {
  test('until the API server is there', async () => {
    await withLab({ dataplane: profile.dataplane, agents: false, nodes: 2 }, async lab => {
      await lab.api.stop()
      for (const node of lab.nodes) await node.agent.start()
      const log = new AgentLog(nodeOf(lab, 1))
      await waitFor(
        () => /trying again: .*(ECONNREFUSED|refused)/i.test(nodeOf(lab, 1).agent.logs()),
        limit(20_000),
        `a word about it in ${log.text}`,
      )
      await waitFor(
        async () => (await readiness(lab, 1)).includes('the API server has not been read yet'),
        limit(10_000),
        'readiness to say why not',
      )
      await lab.api.start()
      await allReady(lab)
      await turnOn(lab)
    })
  })

  test('until its Node is there, and says which name it looks for; the others encrypt meanwhile', async () => {
    await withLab({ dataplane: profile.dataplane, agents: false, nodes: 3 }, async lab => {
      const stranger = nodeOf(lab, 3)
      await stranger.deleteObjects()
      for (const node of lab.nodes) await node.agent.start()
      await lab.setEncryption(true)
      await untilPairEncrypted(lab, ['pod-1', 'pod-2'])
      await waitFor(
        () => /there is no Node node-3: is --node-name \(NODE_NAME\) right\?/.test(stranger.agent.logs()),
        limit(20_000),
        'a word about it',
      )
      expect(await readiness(lab, 3)).toContain('there is no Node node-3')
      expect(await onNode(stranger, 'wg show interfaces')).toBe('')
      await stranger.createObjects()
      await untilEncrypted(lab)
      expect(stranger.agent.logs().match(/there is no Node node-3/g)).toHaveLength(1)
    })
  })

  test('where there is no WireGuard, and says what to install; the others encrypt, and it stays in clear', async () => {
    await withLab({ dataplane: profile.dataplane, agents: false, nodes: 3 }, async lab => {
      for (const node of lab.nodes.slice(0, 2)) await node.agent.start()
      const node = nodeOf(lab, 3)
      const without = { dataplane: 'userspace', env: { PODVEIL_WIREGUARD_GO: '/nowhere/wireguard-go' } }
      await using agent = new ForegroundAgent(lab, node, without)
      const report = await measureLoss(
        lab,
        async () => {
          await lab.setEncryption(true)
          await untilPairEncrypted(lab, ['pod-1', 'pod-2'])
          await agent.says(/\/nowhere\/wireguard-go is not installed: install the package wireguard-go/)
          await watchUnderlay(lab)
        },
        RATE,
      )
      expectNoLoss(report)
      expect(agent.status).toBeUndefined()
      expect(agent.complaints.filter(line => line.includes('is not installed'))).toHaveLength(1)
      expect(await readiness(lab, 3)).toContain('is not installed')
      expect(await meshAnnotations(lab, node.name)).toEqual({})
      expect(await agent.terminate()).toBe(0)
    })
  })

  test('where it has no CAP_NET_ADMIN, and says so; the others encrypt, and it stays in clear', async () => {
    await withLab({ dataplane: profile.dataplane, agents: false, nodes: 3 }, async lab => {
      for (const node of lab.nodes.slice(0, 2)) await node.agent.start()
      const node = nodeOf(lab, 3)
      await using agent = new ForegroundAgent(lab, node, { through: ['setpriv', '--bounding-set=-net_admin'] })
      const report = await measureLoss(
        lab,
        async () => {
          await lab.setEncryption(true)
          await untilPairEncrypted(lab, ['pod-1', 'pod-2'])
          await agent.says(/CAP_NET_ADMIN/)
          await watchUnderlay(lab)
        },
        RATE,
      )
      expectNoLoss(report)
      expect(agent.status).toBeUndefined()
      expect(new Set(agent.complaints).size).toBe(agent.complaints.length)
      expect(await readiness(lab, 3)).toContain('CAP_NET_ADMIN')
      expect(await meshAnnotations(lab, node.name)).toEqual({})
      expect(await agent.terminate()).toBe(0)
    })
  })

  test.each([
    { port: 51820, whose: 'its WireGuard port', said: /wireguard\.cali: port 51820\/udp is taken by another program/ },
    {
      port: 9182,
      whose: 'the hello’s port',
      said: /hello on wireguard\.cali.* UDP port 9182 is in use: end what listens/,
    },
  ])('where another program has $whose, and says so once', async ({ port, said }) => {
    await withLab({ dataplane: profile.dataplane, agents: false, nodes: 2, families: '4' }, async lab => {
      const node = nodeOf(lab, 1)
      const squatter = `require("dgram").createSocket("udp4").bind(${port}, "0.0.0.0"); setTimeout(() => {}, 120_000)`
      const pid = await onNode(node, `${process.execPath} -e '${squatter}' >/dev/null 2>&1 & echo $!`)
      try {
        await waitFor(async () => (await onNode(node, `ss -Hlun sport = :${port}`)) !== '', limit(15_000), 'the port')
        const log = new AgentLog(node)
        for (const { agent } of lab.nodes) await agent.start()
        await lab.setEncryption(true)
        await log.says(said, limit(20_000))
        const tries = async () =>
          Number(/^podveil_reconcile_seconds_count(?:\{[^}]*\})? (\d+)/m.exec(await node.agent.metrics())?.[1])
        const before = await tries()
        await waitFor(async () => (await tries()) > before + 2, limit(30_000), 'it to try again')
        expect(log.matching(said).filter(({ level }) => level > 30)).toHaveLength(1)
      } finally {
        await onNode(node, `kill ${pid.trim()} || true`)
      }
      await untilEncrypted(lab, limit(60_000))
    })
  })

  test.each([
    {
      what: 'others can read',
      damage: (file: string) => chmodSync(file, 0o644),
      said: /keys\.json: is open to group or others \(mode 0644\): run "chmod 0600 /,
    },
    {
      what: 'is damaged',
      damage: (file: string) => writeFileSync(file, '{"half":'),
      said: /keys\.json: is not a key file .*restore it from a backup, or delete it/,
    },
  ])('where its key file $what, and says what to do; the tunnel stays as it is', async ({ damage, said }) => {
    await withTwo(async lab => {
      const node = nodeOf(lab, 1)
      const file = join(node.agent.stateDirectory, 'keys.json')
      const good = readFileSync(file)
      const before = await settledState(node)
      const report = await measureLoss(
        lab,
        async () => {
          await node.agent.kill()
          damage(file)
          const log = new AgentLog(node)
          await node.agent.start()
          await log.says(said)
          await expectTunnelled(lab)
          expect(await kernelState(node)).toEqual(before)
          expect(log.text).not.toContain(good.toString().slice(0, 20))
          writeFileSync(file, good)
          chmodSync(file, 0o600)
          await node.agent.ready(limit(40_000))
          expect(log.matching(said).filter(({ level }) => level > 30)).toHaveLength(1)
        },
        RATE,
      )
      expectNoLoss(report)
      expect(await kernelState(node)).toEqual(before)
    })
  })
})

describeLab('what others write', meshNeeds, () => {
  test('a Node with annotations that make no sense is named once, and all others go on encrypting', async () => {
    await withEncryptedMesh({ nodes: 3 }, async lab => {
      const [one] = lab.nodes
      const log = new AgentLog(nodeOf(lab, 1))
      const report = await measureLoss(
        lab,
        async () => {
          await lab.client.create('/api/v1/nodes', {
            apiVersion: 'v1',
            kind: 'Node',
            metadata: {
              name: 'strange',
              annotations: {
                'projectcalico.org/WireguardPublicKey': 'not a key',
                'projectcalico.org/WireguardPublicKeyV6': `${'A'.repeat(43)}=`,
                'projectcalico.org/IPv4WireguardInterfaceAddr': '10.244.1.10',
                'podveil.io/wireguard-port': '-1',
                'podveil.io/hello': 'yes',
              },
            },
            spec: { podCIDR: '10.244.77.0/24', podCIDRs: ['10.244.77.0/24', 'fd00:244:77::/64'] },
            status: { addresses: [{ type: 'InternalIP', address: '10.200.0.99' }] },
          })
          await log.says(/Node strange: annotation projectcalico\.org\/WireguardPublicKey[ :]/)
          await expectTunnelled(lab)
          await lab.client.delete('/api/v1/nodes/strange')
        },
        RATE,
      )
      expectNoLoss(report)
      expect(await onNode(nodeOf(lab, 1), 'ip route show table 1')).not.toContain('10.244.77.0/24 dev')
      await one?.agent.ready()
    })
  })

  test('a key that somebody wrote over is put right by its own agent', async () => {
    await withTwo(async lab => {
      const node = nodeOf(lab, 2)
      const right = await meshAnnotations(lab, node.name)
      const report = await measureLoss(
        lab,
        async () => {
          for (const value of ['not a key', null]) {
            const annotations = { 'projectcalico.org/WireguardPublicKey': value }
            await lab.client.mergePatch(`/api/v1/nodes/${node.name}`, { metadata: { annotations } })
            await waitFor(
              async () => expect(await meshAnnotations(lab, node.name)).toEqual(right) ?? true,
              limit(5_000),
              'the key to be back',
            )
            await untilEncrypted(lab)
          }
        },
        RATE,
      )
      expectNoLoss(report)
    })
  })

  test('a FelixConfiguration that makes no sense is refused by value, and the last good one stays', async () => {
    await withTwo(async lab => {
      const node = nodeOf(lab, 1)
      const path = '/apis/crd.projectcalico.org/v1/felixconfigurations/default'
      await lab.patchFelix({ wireguardMTU: 1400 })
      const mtu = async () => / mtu (\d+) /.exec(await onNode(node, 'ip -o link show wireguard.cali'))?.[1]
      await waitFor(async () => (await mtu()) === '1400', limit(10_000), 'the MTU to be 1400')
      const log = new AgentLog(node)
      const report = await measureLoss(
        lab,
        async () => {
          // A field's type is held by the schema; an annotation may say anything.
          const annotate = (value: string | null) =>
            lab.client.mergePatch(path, {
              metadata: {
                annotations: {
                  'config.projectcalico.org/WireguardMTU': value,
                  'config.projectcalico.org/WireguardEnabled': value,
                },
              },
            })
          await annotate('plenty')
          await log.says(
            /FelixConfiguration default: config\.projectcalico\.org\/WireguardMTU "plenty" .*the last good value stays/,
          )
          await log.says(
            /FelixConfiguration default: config\.projectcalico\.org\/WireguardEnabled "plenty" .*the last good value stays/,
          )
          await expectTunnelled(lab)
          expect(await mtu()).toBe('1400')
          await annotate(null)
        },
        RATE,
      )
      expectNoLoss(report)
      expect(log.matching(/WireguardMTU/)).toHaveLength(1)
    })
  })

  test('an environment that makes no sense is said, and the default taken', async () => {
    await withLab({ dataplane: profile.dataplane, agents: false, nodes: 2, families: '4' }, async lab => {
      const node = nodeOf(lab, 1)
      await node.agent.start({ FELIX_WIREGUARDMTU: 'plenty', FELIX_WIREGUARDLISTENINGPORT: '99999' })
      await nodeOf(lab, 2).agent.start()
      await turnOn(lab)
      expect(node.agent.logs()).toMatch(/environment: FELIX_WIREGUARDMTU \\"plenty\\"/)
      expect(node.agent.logs()).toMatch(/environment: FELIX_WIREGUARDLISTENINGPORT \\"99999\\"/)
      expect(await onNode(node, 'ip -o link show wireguard.cali')).toMatch(/ mtu 1440 /)
      expect(await onNode(node, 'wg show wireguard.cali listen-port')).toBe('51820\n')
    })
  })
})
