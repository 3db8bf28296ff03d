import type { LabNode } from '#src/lab/lab.ts'
import { profile } from './profile.ts'
import { onNode } from './with-mesh.ts'

export const CARELESS_DEVICE = 'wg-hand'
const PORT = 51820

/** WireGuard devices made by hand, in the order of somebody who does not think of the other side: the control for all that counts loss. */
export async function makeDevice(node: LabNode, port: number = PORT): Promise<string> {
  const make =
    profile.dataplane === 'kernel' ? `ip link add ${CARELESS_DEVICE} type wireguard` : `wireguard-go ${CARELESS_DEVICE}`
  await onNode(
    node,
    `umask 077; ${make} && wg genkey > /run/key && wg set ${CARELESS_DEVICE} private-key /run/key listen-port ${port}`,
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

const MARK = '0x77'
/** Counts what a host sends to another by the device, however much of it waits there. */
const COUNTER =
  'table inet test_steered { chain out { type filter hook output priority 0; oifname "DEVICE" counter; }; }'

/** What the node itself sends to the other one's address goes by the device, but for the device's own packets. */
export async function steerHost(from: LabNode, to: LabNode, key: string): Promise<void> {
  const [address] = to.addresses
  const peer = `peer ${key} endpoint ${address}:${PORT} allowed-ips ${address}/32`
  await onNode(
    from,
    `nft '${COUNTER.replace('DEVICE', CARELESS_DEVICE)}'
     wg set ${CARELESS_DEVICE} fwmark ${MARK} ${peer}
     ip route add ${address}/32 dev ${CARELESS_DEVICE} table 77
     ip rule add pref 77 not fwmark ${MARK} lookup 77`,
  )
}

export async function steeredPackets(node: LabNode): Promise<number> {
  const [, packets] = /counter packets (\d+)/.exec(await onNode(node, 'nft list table inet test_steered')) ?? []
  return Number(packets)
}
