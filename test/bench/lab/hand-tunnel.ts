import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { LabError } from '#src/lab/errors.ts'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { nodeProgram } from '#src/lab/node-program.ts'
import { waitUntil } from '#src/lab/wait.ts'
import { dataplane } from './dataplane.ts'

const ENLARGE = fileURLToPath(new URL('./as-podveil.ts', import.meta.url))
/** Before the rules of anybody else. */
const PRIORITY = 5
const LIMIT_MS = 60_000
/** Packets, as in wg/device/userspace.ts. */
const QUEUE = 4_096
const SOCKETS = '/var/run/wireguard'

export interface HandTunnelOptions {
  readonly device: string
  readonly port: number
  /** Of routes, its own. */
  readonly table: number
  /** As the tunnel has that this one is compared with. */
  readonly mtu: number
  /** Whether wireguard-go has the session, priority and queues that Podveil gives it (wg/device/userspace.ts, wg/uapi). */
  readonly tuned: boolean
}

/** A WireGuard tunnel between the two nodes of a lab that no agent has made, to be steered into and out of as one likes. */
export class HandTunnel {
  readonly #ends: readonly (readonly [from: LabNode, to: LabNode])[]
  readonly #table: number

  private constructor(ends: readonly (readonly [LabNode, LabNode])[], table: number) {
    this.#ends = ends
    this.#table = table
  }

  static async make(lab: Lab, options: HandTunnelOptions): Promise<HandTunnel> {
    const { device, port, table } = options
    const [one, other] = lab.nodes
    if (!one || !other || lab.nodes.length !== 2) throw new Error('a tunnel has two ends')
    const ends = [
      [one, other],
      [other, one],
    ] as const
    const keys = new Map<LabNode, string>()
    for (const node of lab.nodes) keys.set(node, await makeDevice(node, options))
    for (const [node, peer] of ends) {
      const allowed = peer.podCidrs.join(',')
      await shell(
        node,
        `wg set ${device} peer ${keys.get(peer)} endpoint ${peer.addresses[0]}:${port} allowed-ips ${allowed} persistent-keepalive 1`,
      )
      for (const cidr of peer.podCidrs) await shell(node, `ip route replace ${cidr} dev ${device} table ${table}`)
    }
    await waitUntil(
      async () => !(await shell(one, `wg show ${device} latest-handshakes`)).trim().endsWith('\t0'),
      LIMIT_MS,
      'a handshake of the tunnel by hand',
    )
    return new HandTunnel(ends, table)
  }

  /** Whether pods’ packets take it; where they do not, they go as the node would have them. */
  async carry(carries: boolean): Promise<void> {
    for (const [node, peer] of this.#ends)
      for (const cidr of peer.podCidrs)
        await shell(node, `ip rule ${carries ? 'add' : 'del'} priority ${PRIORITY} to ${cidr} lookup ${this.#table}`)
  }
}

/** @returns the public key */
async function makeDevice(node: LabNode, { device, port, mtu, tuned }: HandTunnelOptions): Promise<string> {
  // As far ahead of others as an agent is, or as an agent puts it: in a session of its own, which the kernel's scheduler takes for a group.
  const start = tuned ? `setsid nice -n ${constants.priority.PRIORITY_HIGH}` : 'nice -n -5'
  const make = dataplane() === 'kernel' ? `ip link add ${device} type wireguard` : `${start} wireguard-go ${device}`
  const key = `/run/${device}.key`
  await shell(
    node,
    `umask 077; ${make} && wg genkey > ${key} && wg set ${device} private-key ${key} listen-port ${port}`,
  )
  await shell(node, `ip link set ${device} mtu ${mtu} up`)
  if (tuned) {
    await shell(node, `ip link set ${device} txqueuelen ${QUEUE}`)
    const { status, stderr } = await node.exec([nodeProgram(), ENLARGE, `${SOCKETS}/${device}.sock`, String(port)])
    if (status !== 0) throw new LabError('ERR_LAB_COMMAND', `${node.name}: ${ENLARGE}: ${stderr.trim()}`)
  }
  return (await shell(node, `wg pubkey < ${key}`)).trim()
}

async function shell(node: LabNode, script: string): Promise<string> {
  const { status, stdout, stderr } = await node.exec(['sh', '-ec', script])
  if (status !== 0) throw new LabError('ERR_LAB_COMMAND', `${node.name}: ${script}: ${stderr.trim()}`)
  return stdout
}
