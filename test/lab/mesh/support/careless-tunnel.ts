import type { LabNode } from '#src/lab/lab.ts'
import { profile } from './profile.ts'
import { onNode } from './with-mesh.ts'

export const CARELESS_DEVICE = 'wg-hand'
const PORT = 51820

/** WireGuard devices made by hand, in the order of somebody who does not think of the other side: the control for all that counts loss. */
export async function makeDevice(node: LabNode): Promise<string> {
  const make =
    profile.dataplane === 'kernel' ? `ip link add ${CARELESS_DEVICE} type wireguard` : `wireguard-go ${CARELESS_DEVICE}`
  await onNode(
    node,
    `umask 077; ${make} && wg genkey > /run/key && wg set ${CARELESS_DEVICE} private-key /run/key listen-port ${PORT}`,
  )
  await onNode(node, `ip link set ${CARELESS_DEVICE} mtu 1420 up`)
  return (await onNode(node, 'wg pubkey < /run/key')).trim()
}

export async function addPeer(node: LabNode, peer: LabNode, key: string): Promise<void> {
  const [address] = peer.addresses
  await onNode(
    node,
    `wg set ${CARELESS_DEVICE} peer ${key} endpoint ${address}:${PORT} allowed-ips ${peer.podCidrs.join(',')}`,
  )
}

export async function steer(from: LabNode, to: LabNode): Promise<void> {
  for (const cidr of to.podCidrs) await onNode(from, `ip route replace ${cidr} dev ${CARELESS_DEVICE}`)
}
