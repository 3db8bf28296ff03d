import type { Lab, LabNode } from '#src/lab/lab.ts'
import { NODES } from '#src/lab/objects.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit, profile } from './profile.ts'
import { onNode } from './with-mesh.ts'

const DEVICE = 'wireguard.cali'
const PORT = 51820
/** The bit that Felix marks its packets with. */
const MARK = '0x200000/0x200000'
const KEY = 'projectcalico.org/WireguardPublicKey'

const annotationsOf = async (lab: Lab, node: LabNode): Promise<Readonly<Record<string, string>>> => {
  const { metadata } = (await lab.client.get(`${NODES}/${node.name}`)) as {
    metadata: { annotations?: Record<string, string> }
  }
  return metadata.annotations ?? {}
}

/**
 * What Felix does on a node for IPv4, in the order in which it does it: device, annotations, rule. It speaks no hello,
 * publishes no port, and dials everybody on its own.
 */
export async function startFelix(lab: Lab, node: LabNode): Promise<void> {
  const make = profile.dataplane === 'kernel' ? `ip link add ${DEVICE} type wireguard` : `wireguard-go ${DEVICE}`
  const setUp = `wg genkey > /run/key && wg set ${DEVICE} private-key /run/key listen-port ${PORT} fwmark 0x200000`
  await onNode(node, `umask 077; ${make} && ${setUp}`)
  const address = node.plan.podGateways[0]
  await onNode(node, `ip address add ${address}/32 dev ${DEVICE}; ip link set ${DEVICE} mtu 1440 up`)
  await onNode(node, `ip route add throw ${node.podCidrs[0]} table 1`)
  const key = (await onNode(node, 'wg pubkey < /run/key')).trim()
  const annotations = { [KEY]: key, 'projectcalico.org/IPv4WireguardInterfaceAddr': address ?? '' }
  await lab.client.mergePatch(`${NODES}/${node.name}`, { metadata: { annotations } })
  await onNode(node, `ip rule add not fwmark ${MARK} lookup 1 pref 99`)
}

/** Felix on this node sees the other one's key, and steers on sight of it. */
export async function felixSees(lab: Lab, node: LabNode, other: LabNode): Promise<void> {
  const published = async () => (await annotationsOf(lab, other))[KEY]
  const key = await waitFor(published, limit(20_000), `${other.name} to publish its key`)
  const [cidr, endpoint] = [other.podCidrs[0], `${other.addresses[0]}:${PORT}`]
  await onNode(node, `wg set ${DEVICE} peer ${key} endpoint ${endpoint} allowed-ips ${cidr}`)
  await onNode(node, `ip route replace ${cidr} dev ${DEVICE} scope link table 1`)
}

/** What Felix does when it is told that there is no WireGuard. */
export async function stopFelix(lab: Lab, node: LabNode): Promise<void> {
  await onNode(node, `ip rule del pref 99; ip route flush table 1; ip link del ${DEVICE}`)
  const annotations = { [KEY]: null, 'projectcalico.org/IPv4WireguardInterfaceAddr': null }
  await lab.client.mergePatch(`${NODES}/${node.name}`, { metadata: { annotations } })
}
