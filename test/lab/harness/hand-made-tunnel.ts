import type { Lab, LabNode } from '#src/lab/lab.ts'
import { familyOf } from '#wg/ip.ts'
import { waitFor } from './wait-for.ts'

const DEVICE = 'wg-hand'
const PORT = 51820

/** A WireGuard tunnel between two nodes that no agent has made, for all pods of both: what the underlay watcher is held against. */
export async function tunnelByHand(lab: Lab): Promise<void> {
  const [one, other] = lab.nodes
  if (!one || !other || lab.nodes.length !== 2) throw new Error('a tunnel has two ends')
  const keys = await Promise.all([makeDevice(one), makeDevice(other)])
  await addPeer(one, other, keys[1])
  await addPeer(other, one, keys[0])
  await waitFor(
    async () => (await shell(one, `wg show ${DEVICE} latest-handshakes`)).trim().endsWith('\t0') === false,
    10_000,
    'a handshake',
  )
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const)
    await steer(from, to)
}

/** @returns the public key */
async function makeDevice(node: LabNode): Promise<string> {
  await shell(
    node,
    `umask 077; wireguard-go ${DEVICE} && wg genkey > /run/key && wg set ${DEVICE} private-key /run/key listen-port ${PORT}`,
  )
  await shell(node, `ip link set ${DEVICE} mtu 1420 up`)
  return (await shell(node, 'wg pubkey < /run/key')).trim()
}

async function addPeer(node: LabNode, peer: LabNode, key: string): Promise<void> {
  const [address = ''] = peer.addresses
  const endpoint = address.includes(':') ? `[${address}]:${PORT}` : `${address}:${PORT}`
  const allowed = peer.podCidrs.join(',')
  await shell(node, `wg set ${DEVICE} peer ${key} endpoint ${endpoint} allowed-ips ${allowed} persistent-keepalive 1`)
}

async function steer(from: LabNode, to: LabNode): Promise<void> {
  for (const cidr of to.plan.podCidrs) await shell(from, `ip -${familyOf(cidr)} route replace ${cidr} dev ${DEVICE}`)
}

async function shell(node: LabNode, script: string): Promise<string> {
  const { status, stdout, stderr } = await node.exec(['sh', '-ec', script])
  if (status !== 0) throw new Error(`${node.name}: ${script}: ${stderr}`)
  return stdout
}
