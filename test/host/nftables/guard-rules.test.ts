import { expect, test } from 'vitest'
import { contents, type DesiredFirewall, GUARD_COUNTERS, replacement, structure } from '#wg/nftables/ruleset.ts'
import { firewall, guard, prefixes } from '../../unit/nftables/fixtures.ts'
import { describeInNamespaces, Namespace } from '../netlink/namespace.ts'

const POD = '10.244.1.10'
const NODE = '10.200.0.11'
const [OTHER_POD, OTHER_NODE] = ['10.244.2.10', '10.200.0.12']
/** Neither a pod nor a node. */
const STRANGER = '198.51.100.9'
const PORT = 7_070
const HELLO = 9_182
const COUNT = 5

/** Where a datagram is sent from; what is beyond the tunnel has another node's pods. */
type Place = 'pod' | 'node' | 'tunnel' | 'underlay'

const COUNTING = `table inet seen { counter arrived {}
  chain arriving { type filter hook prerouting priority -350; meta l4proto udp counter name arrived; }
}`

/** A node with a pod, something that stands for its tunnel, and an underlay on which another node is. */
class Node implements Disposable {
  readonly #at: Readonly<Record<Place, Namespace>> = {
    node: new Namespace(),
    pod: new Namespace(),
    tunnel: new Namespace(),
    underlay: new Namespace(),
  }

  constructor(desired: DesiredFirewall) {
    const { node, pod, tunnel, underlay } = this.#at
    const links = [
      ['veth-pod', pod, POD],
      ['wireguard.cali', tunnel, OTHER_POD],
      ['eth0', underlay, OTHER_NODE],
    ] as const
    node.run(['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward'])
    for (const [device, beyond, address] of links) {
      node.ip(`link add ${device} type veth peer name eth0 netns ${beyond.name}`)
      node.run(['sh', '-c', `echo 0 > /proc/sys/net/ipv4/conf/${device}/rp_filter`])
      node.ip(`link set ${device} up`)
      beyond.ip('link set lo up')
      beyond.ip('link set eth0 up')
      beyond.ip(`address add ${address}/32 dev eth0`)
      beyond.ip(`route add ${NODE} dev eth0`)
      beyond.ip(`route add default via ${NODE}`)
      beyond.run(['nft', '-f', '-'], COUNTING)
    }
    node.ip(`address add ${NODE}/32 dev eth0`)
    node.ip('address add 10.244.1.1/32 dev wireguard.cali')
    node.ip(`route add ${POD} dev veth-pod`)
    node.ip(`route add ${OTHER_NODE} dev eth0`)
    node.ip(`route add default via ${OTHER_NODE}`)
    for (const address of [OTHER_POD, STRANGER]) underlay.ip(`address add ${address}/32 dev lo`)
    node.run(['nft', '-f', '-'], replacement(structure(desired), contents(desired)))
  }

  /** Has what is for this address go into the tunnel. */
  steer(address: string): void {
    this.#at.node.ip(`route replace ${address} dev wireguard.cali`)
  }

  translate(chains: string): void {
    this.#at.node.run(['nft', '-f', '-'], `table ip test_nat {\n${chains}\n}`)
  }

  /** @returns how many of the datagrams have arrived, and what the guard has counted */
  send(from: Place, source: string, to: Place, address: string, port = PORT): Outcome {
    const before = this.#arrived(to)
    const script = `
      const socket = require('node:dgram').createSocket('udp4')
      socket.bind(${PORT}, '${source}', () => {
        let left = ${COUNT}
        for (let i = 0; i < ${COUNT}; i++) socket.send('x', ${port}, '${address}', () => --left || socket.close())
      })
      socket.on('error', () => {})`
    this.#at[from].run([process.execPath, '-e', script])
    const listing = this.#at.node.run(['nft', 'list', 'counters', 'table', 'inet', 'podveil'])
    const counted = GUARD_COUNTERS.filter(name => packets(listing, name) > 0)
    return { arrived: this.#arrived(to) - before, counted }
  }

  #arrived(place: Place): number {
    return packets(this.#at[place].run(['nft', 'list', 'counter', 'inet', 'seen', 'arrived']), 'arrived')
  }

  [Symbol.dispose](): void {
    for (const namespace of Object.values(this.#at)) namespace[Symbol.dispose]()
  }
}

interface Outcome {
  readonly arrived: number
  readonly counted: readonly string[]
}

const packets = (listing: string, counter: string): number =>
  Number(new RegExp(`counter ${counter} \\{\\s+packets (\\d+)`).exec(listing)?.[1] ?? Number.NaN)

const dropped = (...counted: string[]): Outcome => ({ arrived: 0, counted })
const PASSED: Outcome = { arrived: COUNT, counted: [] }

/** A port of the node, that leads elsewhere as kube-proxy has it. */
const nodePort = (to: string): string => `
  chain pre { type nat hook prerouting priority -100; ip daddr ${NODE} udp dport 30080 dnat to ${to}:${PORT}; }
  chain post { type nat hook postrouting priority 100; ct status dnat masquerade; }`

const MASQUERADE = 'chain post { type nat hook postrouting priority 100; iifname veth-pod masquerade; }'

interface Way {
  readonly name: string
  readonly send: (node: Node) => Outcome
  readonly under: Outcome
}

const ways: readonly Way[] = [
  {
    name: 'a pod sends to another node’s pod',
    send: node => node.send('pod', POD, 'underlay', OTHER_POD),
    under: dropped('out_to_pod'),
  },
  {
    name: 'the node sends to another node’s pod',
    send: node => node.send('node', NODE, 'underlay', OTHER_POD),
    under: dropped('out_to_pod'),
  },
  {
    name: 'a pod sends to another node',
    send: node => node.send('pod', POD, 'underlay', OTHER_NODE),
    under: dropped('out_to_node'),
  },
  {
    name: 'a pod sends to another node, masqueraded',
    send: node => {
      node.translate(MASQUERADE)
      return node.send('pod', POD, 'underlay', OTHER_NODE)
    },
    under: dropped('out_to_node'),
  },
  {
    name: 'another node’s pod sends to a port of this node that leads to a third node',
    send: node => {
      node.translate(nodePort(OTHER_NODE))
      return node.send('tunnel', OTHER_POD, 'underlay', NODE, 30_080)
    },
    under: dropped('out_to_node'),
  },
  {
    name: 'another node’s pod sends to the local pod',
    send: node => node.send('underlay', OTHER_POD, 'pod', POD),
    under: dropped('in_from_pod'),
  },
  {
    name: 'another node sends to the local pod',
    send: node => node.send('underlay', OTHER_NODE, 'pod', POD),
    under: dropped('in_from_node'),
  },
]

const passing: readonly Way[] = [
  {
    name: 'a pod sends into the tunnel',
    send: node => {
      node.steer(OTHER_POD)
      return node.send('pod', POD, 'tunnel', OTHER_POD)
    },
    under: PASSED,
  },
  {
    name: 'a pod sends out of the cluster',
    send: node => node.send('pod', POD, 'underlay', STRANGER),
    under: PASSED,
  },
  {
    name: 'somebody outside of the cluster sends to a pod',
    send: node => node.send('underlay', STRANGER, 'pod', POD),
    under: PASSED,
  },
  {
    name: 'a node sends to another node',
    send: node => node.send('node', NODE, 'underlay', OTHER_NODE),
    under: PASSED,
  },
]

const MODES = { enforce: firewall(), audit: firewall({ guard: guard({ mode: 'audit' }) }) } as const

describeInNamespaces('the guard’s rules', () => {
  test.each(ways)('when $name in clear: dropped under enforce, counted and let through by audit', ({ send, under }) => {
    using enforcing = new Node(MODES.enforce)
    expect(send(enforcing)).toEqual(under)
    using auditing = new Node(MODES.audit)
    const { arrived, counted } = send(auditing)
    expect(arrived).toBe(COUNT)
    expect(counted).toEqual(expect.arrayContaining([...under.counted]))
  })

  test.each(passing)('when $name: nothing', ({ send, under }) => {
    using node = new Node(MODES.enforce)
    expect(send(node)).toEqual(under)
  })

  test('when a pod answers another node in clear that has asked a port of this node: dropped', () => {
    using node = new Node(MODES.enforce)
    node.translate(nodePort(POD).replace('ct status dnat masquerade', ''))
    // Nobody listens there: its kernel answers, by ICMP.
    expect(node.send('underlay', OTHER_NODE, 'pod', NODE, 30_080)).toEqual({ arrived: COUNT, counted: ['out_to_node'] })
  })

  test('when a node that has not said that it steers sends in clear: counted, and let in', () => {
    const unarmed = prefixes(['10.244.2.0/24', OTHER_NODE])
    using node = new Node(firewall({ guard: guard({ unarmed }) }))
    const { arrived, counted } = node.send('underlay', OTHER_POD, 'pod', POD)
    expect(arrived).toBe(COUNT)
    // What the pod's kernel answers, as nobody listens there, is dropped on its way out.
    expect(counted).toEqual(['out_to_pod', 'in_unarmed'])
  })

  test('when a node that is listed is spoken with in clear: nothing', () => {
    const clear = prefixes(['10.244.2.0/24', OTHER_NODE])
    using node = new Node(firewall({ guard: guard({ clear }) }))
    expect(node.send('underlay', OTHER_POD, 'pod', POD)).toEqual(PASSED)
    expect(node.send('pod', POD, 'underlay', OTHER_POD)).toEqual(PASSED)
  })
})

describeInNamespaces('what pods send into the tunnel', () => {
  test('is dropped at the hello’s port, which agents alone speak at (control: another port, the node itself)', () => {
    using node = new Node(firewall())
    node.steer(OTHER_POD)
    expect(node.send('pod', POD, 'tunnel', OTHER_POD, HELLO).arrived).toBe(0)
    expect(node.send('pod', POD, 'tunnel', OTHER_POD).arrived).toBe(COUNT)
    expect(node.send('node', '10.244.1.1', 'tunnel', OTHER_POD, HELLO).arrived).toBe(COUNT)
  })
})
