import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { run } from '#src/lab/run.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { withLab } from '../harness/with-lab.ts'
import { anywhere, blockTunnel, conditions, encrypt, events, nodeOf, onNode, unblockTunnel } from './podveil.ts'

describeLab('an operator who looks at the mesh', { programs: ['wg', 'nft'], userspaceWireGuard: true }, () => {
  test('sees that it is off, then that all is encrypted, from anywhere and on a node', async () => {
    await withLab({ nodes: 3 }, async lab => {
      const off = await waitFor(
        async () => {
          const answer = await anywhere(lab, 'status')
          return answer.stdout.startsWith('off: ') && answer
        },
        30_000,
        'the agents to report',
      )
      expect(off.status).toBe(0)

      await encrypt(lab)
      const all = await anywhere(lab, 'status')
      expect(all.stdout).toMatch(/^encrypted: pod traffic between all of 3 nodes\n/)
      expect(all.stdout.match(/encrypted +\d+s +2\/2/g)).toHaveLength(3)
      expect(all.status).toBe(0)
      expect((await conditions(lab)).map(({ status, message }) => `${status} ${message}`)).toEqual(
        Array(3).fill(expect.stringMatching(/^True 2 of 2 peers encrypted; guard audit; podveil /)),
      )
      expect((await events(lab)).filter(event => event.includes('EncryptionEnabled'))).toHaveLength(6)

      const one = nodeOf(lab, 1)
      const here = await waitFor(
        async () => {
          const answer = await onNode(one, 'status', '--node', '--json')
          // What the agent wrote last may be from before the switch.
          const read = JSON.parse(answer.stdout)
          expect(read).toMatchObject({ node: 'node-1', verdict: 'encrypted', troubles: [] })
          expect(answer.status).toBe(0)
          return read
        },
        30_000,
        'the snapshot to be written',
      )
      expect(here.pairs).toHaveLength(4)
      expect((await one.exec(['stat', '-c', '%a', `${one.agent.stateDirectory}/status.json`])).stdout).toBe('600\n')

      const shown = await onNode(one, 'show')
      expect(shown.stdout).toMatch(/^interface: wireguard.cali\n/)
      expect(shown.stdout.match(/^peer: node-[23]$/gm)).toHaveLength(4)

      const path = await onNode(one, 'explain', '10.244.1.10', '10.244.2.10')
      expect(path.stdout).toContain('encrypted: it goes into wireguard.cali, to node-2 at 10.200.0.12:51820')
      expect(path.stdout).toMatch(/^ +kernel +says so itself, of a packet come in by \S+$/m)
      expect(path.status).toBe(0)
      // What rules and routes alone do not tell: this one looks at the device that a packet comes in by.
      const podDevice = /come in by (\S+)/.exec(path.stdout)?.[1] ?? ''
      await one.exec(['ip', 'rule', 'add', 'priority', '50', 'iif', podDevice, 'lookup', 'main'])
      const elsewhere = await onNode(one, 'explain', '10.244.1.10', '10.244.2.10')
      expect(elsewhere.stdout).toContain('IN CLEAR')
      expect(elsewhere.status).toBe(1)
      await one.exec(['ip', 'rule', 'del', 'priority', '50'])
      const told = await anywhere(lab, 'explain', 'pod-1', 'default/pod-3')
      expect(told.stdout).toContain('encrypted: node-1 says that it encrypts to all of its peers')
      expect((await onNode(one, 'diagnose')).stdout).not.toMatch(/^FAIL(?! +API server)/m)
      expect(await onNode(one, 'diff')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^nothing: /) })
      await expectExported(lab, one)
      await expectBundle(one)
      await expect(one.agent.http('/', 9183)).rejects.toThrow('Connection refused')
    })
  })

  test('finds the pair whose UDP a firewall blocks, with the reason', async () => {
    await withLab({ nodes: 3, families: '4', agentEnv: { PODVEIL_WEB_PORT: '9183' } }, async lab => {
      await blockTunnel(nodeOf(lab, 2), nodeOf(lab, 1))
      await lab.setEncryption(true)
      // Before that, it says that agents have not reported, or that pairs are still turning.
      await waitFor(
        async () => {
          const { status, stdout } = await anywhere(lab, 'status')
          expect(stdout).toMatch(/^NOT ENCRYPTED/)
          expect(stdout).toMatch(/^node-1 .* in clear .* 1\/2 .*in clear: node-2 \(IPv4: no handshake yet: is UDP/m)
          expect(stdout).toMatch(/^node-3 .* encrypted /m)
          expect(status).toBe(1)
          return true
        },
        90_000,
        'status to say so',
      )
      await waitFor(
        async () => (await events(lab)).some(event => /^node-1 PeerUnproven node-2 \(IPv4\)/.test(event)),
        30_000,
        'an Event',
      )
      const explained = await onNode(nodeOf(lab, 1), 'explain', 'node-1', '10.244.2.10')
      expect(explained.stdout).toContain('IN CLEAR: no handshake yet: is UDP to its WireGuard port blocked?')
      expect(explained.status).toBe(1)
      expect((await onNode(nodeOf(lab, 1), 'diagnose')).stdout).toMatch(
        /^FAIL +peer node-2 IPv4 .*\n +-> let UDP through to 10\.200\.0\.12:51820 and back/m,
      )

      const page = await nodeOf(lab, 1).agent.http('/mesh', 9183)
      expect(page.body).toMatch(/NOT ENCRYPTED as it should be: [12] of 3 nodes/)
      expect(page.body).toMatch(/node-1 to node-2: in clear; node-1: IPv4: no handshake yet/)
      const metrics = await nodeOf(lab, 1).agent.metrics()
      expect(metrics).toContain('podveil_peer_trouble{peer="node-2",state="in-clear"} 1\n')
      expect(metrics).toMatch(/^podveil_nodes_encrypted 1$/m)
      expect(metrics).toMatch(/^podveil_clear_packets_total\{reason="out_to_pod"\} \d+$/m)
      expect(metrics).toMatch(/^podveil_keys_written_timestamp_seconds 1\d{9}$/m)

      await unblockTunnel(nodeOf(lab, 2))
      await waitFor(async () => (await anywhere(lab, 'status')).status === 0, 60_000, 'the pair to turn')
      await waitFor(
        async () => (await events(lab)).some(event => /^node-1 PeerRecovered traffic to node-2/.test(event)),
        30_000,
        'an Event',
      )
    })
  })

  test('is told on a node whose agent is dead what the kernel still does', async () => {
    await withLab({ nodes: 2, families: '4' }, async lab => {
      await encrypt(lab)
      const one = nodeOf(lab, 1)
      await one.agent.kill('SIGTERM')
      expect((await onNode(one, 'status', '--node')).status).toBe(0)
      expect((await anywhere(lab, 'status')).stdout).toMatch(/^encrypted: /)
      // As it is five minutes later.
      await lab.client.mergePatch('/apis/coordination.k8s.io/v1/namespaces/podveil-system/leases/node-1', {
        spec: { renewTime: new Date(Date.now() - 301_000).toISOString().replace('Z', '000Z') },
      })
      const unheard = await anywhere(lab, 'status')
      expect(unheard.stdout).toMatch(/^UNKNOWN: the agents of 1 of 2 nodes have not been heard of\n/)
      expect(unheard.stdout).toMatch(/^node-1 .* unknown .* its agent has not been heard of for 5m/m)
      expect(unheard.status).toBe(1)
      await one.exec(['ip', 'rule', 'del', 'priority', '99'])
      const diff = await onNode(one, 'diff')
      expect(diff.stdout).toMatch(/^\+ IPv4 rule 99: not from all fwmark 0x200000\/0x200000 lookup 1$/m)
      expect(diff.status).toBe(1)
      expect((await one.exec(['ip', 'rule', 'show', 'priority', '99'])).stdout).toBe('')
      expect(diff.stdout).not.toContain('mark_clear')
      await one.exec(['nft', 'flush', 'chain', 'inet', 'podveil', 'mark_clear'])
      const filter = await onNode(one, 'diff')
      expect(filter.stdout).toMatch(/^\+ chain mark_clear: ip saddr @remote4 meta mark set /m)
      expect((await one.exec(['nft', 'list', 'chain', 'inet', 'podveil', 'mark_clear'])).stdout).not.toContain(
        'remote4',
      )
      const status = await onNode(one, 'status', '--node')
      expect(status.stdout).toContain('! the kernel has no rule that leads to its routes')
      expect(status.status).toBe(1)
      const diagnosed = await onNode(one, 'diagnose')
      expect(diagnosed.stdout).toMatch(/^FAIL +rule 99 +no rule leads to table 1: IPv4 goes in clear$/m)
      expect(diagnosed.status).toBe(1)
      expect((await onNode(one, 'explain', '10.244.1.10', '10.244.2.10')).stdout).toContain('IN CLEAR: node-2 is ready')
    })
  })

  test('is told when something else fights the agent, and when a setting is refused', async () => {
    await withLab({ nodes: 2, families: '4' }, async lab => {
      await encrypt(lab)
      const one = nodeOf(lab, 1)
      for (let i = 0; i < 5; i++) {
        const route = async () => (await one.exec(['ip', 'route', 'show', 'table', '1', '10.244.2.0/24'])).stdout !== ''
        await waitFor(route, 10_000, 'the route to be repaired')
        await one.exec(['ip', 'route', 'del', '10.244.2.0/24', 'table', '1'])
      }
      // The schema of the CRD lets no bad field pass; an annotation has none.
      await lab.client.mergePatch('/apis/crd.projectcalico.org/v1/felixconfigurations/default', {
        metadata: { annotations: { 'config.projectcalico.org/WireguardMTU': 'seven' } },
      })
      const seen = (pattern: RegExp) =>
        waitFor(async () => (await events(lab)).some(event => pattern.test(event)), 30_000, String(pattern))
      await seen(/^node-1 ForeignChanges something else is changing/)
      await seen(/^node-1 ConfigurationRefused FelixConfiguration default: .*WireguardMTU "seven"/)
    })
  })
})

/** What `export` says of its peers is what the kernel of that node has. */
async function expectExported(lab: Lab, node: LabNode): Promise<void> {
  const { stdout } = await anywhere(lab, 'export', node.name)
  expect(stdout).toContain('PrivateKey = <the private key of node-1: it never leaves that node>')
  const shown = await node.exec(['wg', 'show', 'wireguard.cali', 'allowed-ips'])
  const held = shown.stdout
    .trim()
    .split('\n')
    .map(line => line.split(/\s+/))
  expect(held).toHaveLength(2)
  for (const [key, ...allowedIps] of held) {
    const [, listed = ''] =
      new RegExp(`PublicKey = ${key?.replaceAll('+', '\\+')}\n.*\nAllowedIPs = (.*)`).exec(stdout) ?? []
    expect(listed.split(', ').toSorted()).toEqual(allowedIps.toSorted())
  }
}

/** The archive has what a supporter needs, and no secret of the node. */
async function expectBundle(node: LabNode): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'podveil-test-'))
  try {
    const path = join(directory, 'bundle.tar.gz')
    const { stderr } = await onNode(node, 'diagnose', '--bundle', path)
    expect(stderr).toMatch(/^wrote .*\.tar\.gz, 1\d files/m)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const text = (await run(['tar', '-xzOf', path])).stdout
    const keyFile = await readFile(`${node.agent.stateDirectory}/keys.json`, 'utf8')
    const secrets = [...keyFile.matchAll(/"privateKey": "([^"]+)"/g)].map(([, key = '']) => key)
    expect(secrets).toHaveLength(2)
    for (const secret of secrets)
      for (const form of [secret, Buffer.from(secret, 'base64').toString('hex')]) expect(text).not.toContain(form)
    const [publicKey = ''] = (await node.exec(['wg', 'show', 'wireguard.cali', 'public-key'])).stdout.split('\n')
    for (const part of [publicKey, 'wireguard.cali', 'podveil_peers', 'lookup 1']) expect(text).toContain(part)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

describe('errors', () => {
  test('are one line, with what to do', async () => {
    const { fileURLToPath } = await import('node:url')
    const podveil = fileURLToPath(new URL('../../../bin/podveil', import.meta.url))
    const result = await run(['env', '-u', 'KUBECONFIG', '-u', 'KUBERNETES_SERVICE_HOST', podveil, 'status'])
    expect(result.status).toBe(1)
    expect(result.stdout).toBe('')
    expect(result.stderr).toMatch(/^podveil: .*give --kubeconfig.*\n$/)
  })
})
