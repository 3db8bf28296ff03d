import { Lab, type LabNode } from '#src/lab/lab.ts'
import { waitUntil } from '#src/lab/wait.ts'
import { median } from '../distribution.ts'
import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { dataplane } from './dataplane.ts'
import { HandTunnel } from './hand-tunnel.ts'
import { datagrams, serve, stream, type Transfer } from './iperf.ts'

const DEVICE = 'wireguard.cali'
const UPLINK = 'eth0'
const LIMIT_MS = 180_000
const HAND = 'by hand'
const TUNED = 'by hand, as Podveil starts it'
const PODVEIL = 'Podveil'
const CLEAR = 'clear'

interface Turn extends Transfer {
  readonly way: string
  /** Packets that the sending node put on its uplink, per megabyte that arrived. */
  readonly frames: number
}

/** What goes through the tunnel as Podveil sets it up, through one by hand with the same MTU, and in the clear, by turns. */
export async function dataPath({ rounds, transferSeconds }: Profile): Promise<Table> {
  const plane = dataplane()
  await using lab = await Lab.up({ name: `bench-${process.pid}-path`, nodes: 2, families: '4', dataplane: plane })
  const [from, to] = lab.nodes
  if (!from || !to) throw new Error('the lab has no two nodes')
  for (const { agent } of lab.nodes) await agent.ready(LIMIT_MS)
  await steered(lab, true)
  const mtu = await mtuOf(from)
  const tunnels = new Map([
    [HAND, await HandTunnel.make(lab, { device: 'wg-hand', port: 51_999, table: 990, mtu, tuned: false })],
  ])
  // The kernel's device has no process, and so nothing to tune.
  if (plane === 'userspace')
    tunnels.set(TUNED, await HandTunnel.make(lab, { device: 'wg-tuned', port: 51_998, table: 991, mtu, tuned: true }))
  const ways = [...tunnels.keys(), PODVEIL, CLEAR]
  serve(to.pod)
  const kinds = { 'TCP, one stream': stream, 'UDP, 64 bytes': datagrams }
  const turns = new Map<string, Turn[]>(Object.keys(kinds).map(kind => [kind, []]))
  for (let round = 0; round < rounds; round++)
    // Each goes first as often, so that a machine that slows down does not favour one.
    for (const way of round % 2 === 0 ? ways : ways.toReversed()) {
      await steered(lab, way === PODVEIL)
      await tunnels.get(way)?.carry(true)
      for (const [kind, transfer] of Object.entries(kinds)) {
        const before = await sentBy(from)
        const done = await undisturbed(lab, () => transfer(from.pod, to.pod, transferSeconds))
        const frames = ((await sentBy(from)) - before) / ((done.bits / 8e6) * transferSeconds)
        turns.get(kind)?.push({ ...done, way, frames })
        console.error(JSON.stringify({ kind, way, round, bits: done.bits, packets: done.packets, frames }))
      }
      await tunnels.get(way)?.carry(false)
    }
  return {
    name: 'data-path',
    title: 'Throughput of the tunnel',
    notes: [
      `Two nodes of one lab, pod to pod, iperf3 for ${transferSeconds} s at a time, ${rounds} rounds of all ways by turns; ${plane === 'kernel' ? 'WireGuard of the kernel' : 'wireguard-go'}, MTU ${mtu} in all tunnels. Figures are medians over the rounds; the ratio to the tunnel by hand is taken within each round, with the least and the most of them. Sender, receiver, both nodes and the tunnels share this machine’s processors; the agents are stopped (SIGSTOP) while something is sent.`,
      ...(plane === 'userspace'
        ? [
            '“As Podveil starts it”: wireguard-go in a session of its own, at niceness -14, with room for 4,096 packets at its device and 14 MB at its sockets, so that a burst is not lost while it waits for a processor. A flood beyond what it can do costs it more so, since more is decrypted that the receiver then has no room for.',
          ]
        : []),
      'Podveil only sets the tunnel up: what is measured is the work of kernel and WireGuard, and of Podveil the routing rule and the packet filter that each packet passes. “Frames a MB” are packets that the sending node put on its uplink for each megabyte of payload that arrived, keepalives and what was lost included: a count, which emulation does not change.',
    ],
    rows: [...turns].flatMap(([kind, all]) => ways.map(way => told(row(kind, way, all)))),
  }
}

function row(kind: string, way: string, turns: readonly Turn[]): Row {
  const of = (which: string): Turn[] => turns.filter(turn => turn.way === which)
  const hand = of(HAND)
  const own = of(way)
  const ratios = own.map((turn, at) => turn.bits / (hand[at]?.bits ?? Number.NaN))
  return {
    what: kind,
    way,
    'Mbit/s': median(own.map(({ bits }) => bits)) / 1e6,
    'packets/s': median(own.map(({ packets }) => packets)),
    'ratio to by hand': median(ratios),
    from: Math.min(...ratios),
    to: Math.max(...ratios),
    'frames a MB': median(own.map(({ frames }) => frames)),
  }
}

/**
 * While the agents stand still: what they do after a switch would take from one way, on few processors, what it leaves to another.
 * WireGuard does not need them.
 */
async function undisturbed<T>(lab: Lab, work: () => Promise<T>): Promise<T> {
  const signal = (name: 'SIGSTOP' | 'SIGCONT'): void => {
    for (const { agent } of lab.nodes) if (agent.pid !== undefined) process.kill(agent.pid, name)
  }
  signal('SIGSTOP')
  try {
    return await work()
  } finally {
    signal('SIGCONT')
  }
}

/** Turns encryption on or off, and returns when the kernels do so. */
async function steered(lab: Lab, encrypted: boolean): Promise<void> {
  await lab.setEncryption(encrypted)
  const all = async (): Promise<boolean> => (await lab.steering()).every(way => way.encrypted === encrypted)
  await waitUntil(all, LIMIT_MS, `pods to be ${encrypted ? 'encrypted' : 'in the clear'}`)
}

async function mtuOf(node: LabNode): Promise<number> {
  const { stdout } = await node.exec(['cat', `/sys/class/net/${DEVICE}/mtu`])
  return Number(stdout)
}

async function sentBy(node: LabNode): Promise<number> {
  const { stdout } = await node.exec(['cat', `/sys/class/net/${UPLINK}/statistics/tx_packets`])
  return Number(stdout)
}
