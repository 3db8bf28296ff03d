import { fileURLToPath } from 'node:url'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { type RunResult, run } from '#src/lab/run.ts'
import { waitFor } from '../harness/wait-for.ts'

export const PODVEIL = fileURLToPath(new URL('../../../bin/podveil', import.meta.url))

/** Runs `podveil` on a node, where its agent keeps its state. */
export const onNode = (node: LabNode, ...argv: string[]): Promise<RunResult> =>
  node.exec([PODVEIL, ...argv, '--state-dir', node.agent.stateDirectory])

/** Runs `podveil` with the administrator's kubeconfig, from this machine. */
export const anywhere = (lab: Lab, ...argv: string[]): Promise<RunResult> =>
  run([PODVEIL, ...argv, '--kubeconfig', lab.kubeconfig])

/** A node of the lab by its place, from 1. */
export function nodeOf(lab: Lab, index: number): LabNode {
  const node = lab.nodes[index - 1]
  if (!node) throw new Error(`the lab has no node ${index}`)
  return node
}

/** Turns encryption on, and waits until the mesh says that all is encrypted. */
export async function encrypt(lab: Lab): Promise<void> {
  await lab.setEncryption(true)
  await waitFor(
    async () => (await conditions(lab)).every(({ reason }) => reason === 'AllPeersEncrypted'),
    60_000,
    'all nodes to say that they encrypt',
  )
}

interface Said {
  readonly status: string
  readonly reason: string
  readonly message: string
}

/** The conditions that the agents publish, in the order of the nodes. */
export async function conditions(lab: Lab): Promise<Said[]> {
  return Promise.all(
    lab.nodes.map(async ({ name }) => {
      const { status } = (await lab.client.get(`/api/v1/nodes/${name}`)) as {
        status: { conditions: (Said & { type: string })[] }
      }
      return status.conditions.find(({ type }) => type === 'EncryptionReady') ?? { status: '', reason: '', message: '' }
    }),
  )
}

/** `node-1 PeerUnproven message`, of all Events. */
export async function events(lab: Lab): Promise<string[]> {
  const { items } = (await lab.client.get('/api/v1/namespaces/default/events')) as {
    items: { involvedObject: { name: string }; reason: string; message: string }[]
  }
  return items.map(({ involvedObject, reason, message }) => `${involvedObject.name} ${reason} ${message}`)
}

/** Drops UDP that comes from a node's address to a WireGuard port, on its way into another node. */
export async function blockTunnel(at: LabNode, from: LabNode, port = 51820): Promise<void> {
  const rules = [
    'table inet test_block {',
    '  chain input {',
    '    type filter hook prerouting priority -310; policy accept;',
    `    ip saddr ${from.addresses[0]} udp dport ${port} drop`,
    `    ip saddr ${from.addresses[0]} udp sport ${port} drop`,
    '  }',
    '}',
    '',
  ]
  const { status, stderr } = await at.exec(['nft', '-f', '-'], { input: rules.join('\n') })
  if (status !== 0) throw new Error(stderr)
}

export async function unblockTunnel(at: LabNode): Promise<void> {
  await at.exec(['nft', 'delete', 'table', 'inet', 'test_block'])
}
