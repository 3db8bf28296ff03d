import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { expect, test } from 'vitest'
import { parseListing } from '#wg/nftables/listing.ts'
import {
  changeElements,
  contents,
  type DesiredFirewall,
  elementsOf,
  exchange,
  removal,
  replacement,
  structure,
} from '#wg/nftables/ruleset.ts'
import { firewall, guard, prefixes } from '../../unit/nftables/fixtures.ts'
import { describeInNamespaces, Namespace } from '../netlink/namespace.ts'

const inside = (namespace: Namespace, command: string, input = ''): string =>
  execFileSync('ip', ['netns', 'exec', namespace.name, ...command.split(' ')], {
    encoding: 'utf8',
    input,
    stdio: 'pipe',
  })

const whole = (desired: DesiredFirewall): string => replacement(structure(desired), contents(desired))

/** What an agent does when its rules change. */
const exchanged = (desired: DesiredFirewall): string =>
  `${exchange(structure(desired))}${changeElements(elementsOf(desired), elementsOf(desired))}`

const list = (namespace: Namespace): string => inside(namespace, 'nft list table inet podveil')

describeInNamespaces('nft', () => {
  const many = Array.from({ length: 2_000 }, (_, i) => `10.${64 + (i >> 8)}.${i & 255}.0/24`)

  test.each<[string, DesiredFirewall]>([
    ['with the guard off', firewall({ guard: undefined })],
    ['with the guard on audit', firewall({ guard: guard({ mode: 'audit' }) })],
    ['with the guard on enforce', firewall()],
    ['with one device', firewall({ devices: ['wireguard.cali'] })],
    ['with every character that Felix allows in the name of a device', firewall({ devices: ['aZ09._+-', '.x', '-x'] })],
    ['without any prefix', firewall({ localPods: prefixes([]), remotes: prefixes([]), deviceAddresses: prefixes([]) })],
    [
      'with prefixes inside and beside one another',
      firewall({
        localPods: prefixes(['10.0.0.0/8', '10.244.1.0/24', '10.244.1.7'], ['fd00::/8', 'fd00:244:1::/64']),
        remotes: prefixes(
          ['10.244.2.0/24', '10.244.3.0/24', '0.0.0.0/1', '128.0.0.0/1'],
          ['fd00:244:2::1', 'fd00:244:2::'],
        ),
      }),
    ],
    ['with two thousand nodes', firewall({ remotes: prefixes(many) })],
  ])('takes the ruleset %s', (_, desired) => {
    using namespace = new Namespace()
    inside(namespace, 'nft -c -f -', whole(desired))
    inside(namespace, 'nft -f -', whole(desired))
    inside(namespace, 'nft -c -f -', exchanged(desired))
  })

  test('shows the elements of each set as they were written, so that what stays is known', () => {
    using namespace = new Namespace()
    const desired = firewall({
      remotes: prefixes([...many, '10.200.0.12'], ['fd00:244:2::/64', 'fd00:200::12', '::/3']),
    })
    inside(namespace, 'nft -f -', whole(desired))
    const { elements } = parseListing(list(namespace))
    expect(changeElements(elementsOf(desired), elements)).toBe('')
  })

  test('leaves nothing of the table after its removal, and removes where nothing is', () => {
    using namespace = new Namespace()
    inside(namespace, 'nft -f -', removal)
    inside(namespace, 'nft -f -', whole(firewall()))
    inside(namespace, 'nft -f -', removal)
    expect(inside(namespace, 'nft list ruleset')).toBe('')
  })
})

/** Sends datagrams to an address as fast as it can, until it is ended. */
const FLOOD = `
  const socket = require('node:dgram').createSocket('udp4')
  const bytes = Buffer.alloc(64)
  const send = () => { for (let i = 0; i < 64; i++) socket.send(bytes, 7777, process.argv[1]); setImmediate(send) }
  socket.on('error', () => {})
  socket.bind(0, send)`

/** A node under a flood of pod packets that all must be dropped, and beyond it somebody who counts what arrives. */
class Flood implements AsyncDisposable {
  readonly node = new Namespace()
  readonly beyond = new Namespace()
  #flood: ChildProcess | undefined

  static async start(): Promise<Flood> {
    const flood = new Flood()
    try {
      flood.#build()
      return flood
    } catch (error) {
      await flood[Symbol.asyncDispose]()
      throw error
    }
  }

  #build(): void {
    const { node, beyond } = this
    node.ip(`link add eth0 type veth peer name eth0 netns ${beyond.name}`)
    node.ip('address add 10.200.0.11/24 dev eth0')
    beyond.ip('address add 10.200.0.12/24 dev eth0')
    for (const namespace of [node, beyond]) namespace.ip('link set eth0 up')
    node.ip('route add 10.244.0.0/16 via 10.200.0.12')
    inside(node, 'ping -c 1 -W 5 10.200.0.12')
    inside(beyond, 'nft -f -', COUNT)
    inside(node, 'nft -f -', whole(firewall()))
    const enter = ['netns', 'exec', node.name, process.execPath, '-e', FLOOD, '10.244.2.10']
    this.#flood = spawn('ip', enter, { stdio: 'ignore' })
  }

  get dropped(): number {
    return packets(inside(this.node, 'nft list counter inet podveil out_to_pod'))
  }

  get slipped(): number {
    return packets(inside(this.beyond, 'nft list counter inet seen slipped'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const flood = this.#flood
    flood?.kill('SIGKILL')
    if (flood?.exitCode === null && flood.signalCode === null) await once(flood, 'close')
    this.node[Symbol.dispose]()
    this.beyond[Symbol.dispose]()
  }
}

const COUNT = `
table inet seen {
  counter slipped {}
  chain arriving {
    type filter hook prerouting priority 0
    ip daddr 10.244.0.0/16 counter name slipped
  }
}
`

const packets = (listing: string): number => Number(/packets (\d+)/.exec(listing)?.[1] ?? Number.NaN)

const ROUNDS = process.env.PODVEIL_LONG === '1' ? 1_000 : 100

describeInNamespaces('while rules are exchanged under a flood of pod packets', () => {
  const variants = [guard(), guard({ wireguardPorts: [51822] })]

  test(`none slips through in ${ROUNDS} exchanges, and the counters go on`, async () => {
    await using flood = await Flood.start()
    for (let round = 0; round < ROUNDS; round++)
      inside(flood.node, 'nft -f -', exchanged(firewall({ guard: variants[round % 2] })))
    expect(flood.slipped).toBe(0)
    expect(flood.dropped).toBeGreaterThan(ROUNDS * 10)
  }, 300_000)

  test(`none slips through in ${ROUNDS} changes of the set that it is dropped by`, async () => {
    await using flood = await Flood.start()
    const sets = [guard(), guard({ supernets: prefixes(['10.244.0.0/16', '10.10.0.0/16']) })].map(one =>
      elementsOf(firewall({ guard: one })),
    )
    for (let round = 0; round < ROUNDS; round++) {
      const [from = new Map(), to = new Map()] = round % 2 === 0 ? sets : sets.toReversed()
      inside(flood.node, 'nft -f -', changeElements(to, from))
    }
    expect(flood.slipped).toBe(0)
    expect(flood.dropped).toBeGreaterThan(ROUNDS * 10)
  }, 300_000)

  // It takes a packet on one processor while the other writes.
  test.skipIf(availableParallelism() < 2)(
    'control: some slip through where the table is made anew each time',
    async () => {
      await using flood = await Flood.start()
      for (let round = 0; round < 2_000 && flood.slipped === 0; round++)
        inside(flood.node, 'nft -f -', whole(firewall({ guard: variants[round % 2] })))
      expect(flood.slipped).toBeGreaterThan(0)
    },
    300_000,
  )
})
