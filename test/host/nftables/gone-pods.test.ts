import { expect, test } from 'vitest'
import { FAMILIES, type Family } from '#wg/ip.ts'
import { contents, type DesiredFirewall, GUARD_COUNTERS, replacement, structure } from '#wg/nftables/ruleset.ts'
import { firewall, guard } from '../../unit/nftables/fixtures.ts'
import { describeInNamespaces, Namespace } from '../netlink/namespace.ts'

/** How a CNI leads to this node's pods: by a route for each (ptp, Calico), or by one for all. */
type Shape = 'a route for each pod' | 'a bridge'

type Place = 'node' | 'pod' | 'sibling' | 'tunnel' | 'underlay'

interface Addresses {
  /** Of this node, as each of its neighbours knows it. */
  readonly node: string
  readonly localPods: string
  readonly pod: string
  readonly sibling: string
  /** Has been a pod's of this node. */
  readonly gone: string
  readonly otherPod: string
  readonly router: string
  /** Neither a pod's nor a node's. */
  readonly stranger: string
}

const ADDRESSES: Readonly<Record<Family, Addresses>> = {
  4: {
    node: '169.254.1.1',
    localPods: '10.244.1.0/24',
    pod: '10.244.1.10',
    sibling: '10.244.1.11',
    gone: '10.244.1.12',
    otherPod: '10.244.2.10',
    router: '10.200.0.1',
    stranger: '198.51.100.9',
  },
  6: {
    node: 'fe80::1',
    localPods: 'fd00:244:1::/64',
    pod: 'fd00:244:1::10',
    sibling: 'fd00:244:1::11',
    gone: 'fd00:244:1::12',
    otherPod: 'fd00:244:2::10',
    router: 'fd00:200::1',
    stranger: '2001:db8::9',
  },
}

const PORT = 7_070
const COUNT = 5

const counting = (hook: 'prerouting' | 'postrouting'): string => `table inet seen { counter arrived {}
  chain seeing { type filter hook ${hook} priority -350; udp dport ${PORT} counter name arrived; }
}`

/** Whom each device of the node leads to, by the addresses that are there. */
const LINKS = [
  ['veth-pod', 'pod', ['pod']],
  ['veth-sibling', 'sibling', ['sibling']],
  ['wireguard.cali', 'tunnel', ['otherPod']],
  ['eth0', 'underlay', ['router', 'stranger']],
] as const

/** A node with two pods, something that stands for its tunnel, and a router that its default route leads to. */
class Node implements Disposable {
  readonly #at: Readonly<Record<Place, Namespace>> = {
    node: new Namespace(),
    pod: new Namespace(),
    sibling: new Namespace(),
    tunnel: new Namespace(),
    underlay: new Namespace(),
  }
  readonly #family: Family

  constructor(family: Family, shape: Shape, desired: DesiredFirewall) {
    this.#family = family
    const of = ADDRESSES[family]
    const { node, pod, sibling } = this.#at
    // An IPv6 address is one's own at once.
    for (const place of Object.values(this.#at)) set(place, 'net/ipv6/conf/default/accept_dad', 0)
    set(node, 'net/ipv4/ip_forward', 1)
    set(node, 'net/ipv6/conf/all/forwarding', 1)
    for (const [device, place, own] of LINKS) {
      const beyond = this.#at[place]
      node.ip(`link add ${device} type veth peer name eth0 netns ${beyond.name}`)
      set(node, `net/ipv4/conf/${device}/rp_filter`, 0)
      node.ip(`link set ${device} up`)
      beyond.ip('link set eth0 up')
      for (const name of own) beyond.ip(`-${family} address add ${of[name]} dev eth0`)
      beyond.ip(`-${family} route add ${of.node} dev eth0`)
      beyond.ip(`-${family} route add default via ${of.node} dev eth0`)
      beyond.run(['nft', '-f', '-'], counting('prerouting'))
    }
    if (shape === 'a bridge') {
      node.ip('link add cni0 type bridge')
      for (const device of ['veth-pod', 'veth-sibling']) node.ip(`link set ${device} master cni0`)
      node.ip('link set cni0 up')
      set(node, `net/bridge/bridge-nf-call-ip${family === 4 ? '' : '6'}tables`, 1)
      node.ip(`-${family} route add ${of.localPods} dev cni0`)
      for (const each of [pod, sibling]) each.ip(`-${family} route add ${of.localPods} dev eth0`)
    } else for (const name of ['pod', 'sibling'] as const) node.ip(`-${family} route add ${of[name]} dev veth-${name}`)
    const devices = [...LINKS.map(([device]) => device), ...(shape === 'a bridge' ? ['cni0'] : [])]
    for (const device of devices) node.ip(`-${family} address add ${of.node} dev ${device}`)
    node.ip(`-${family} route add ${of.otherPod} dev wireguard.cali`)
    node.ip(`-${family} route add ${of.router} dev eth0`)
    node.ip(`-${family} route add default via ${of.router}`)
    node.run(['nft', '-f', '-'], replacement(structure(desired), contents(desired)))
  }

  /** Has what is for one address go by way of another. */
  routeBy(address: keyof Addresses, gateway: keyof Addresses): void {
    const { [address]: to, [gateway]: by } = ADDRESSES[this.#family]
    this.#at.node.ip(`-${this.#family} route replace ${to} via ${by}`)
  }

  /** How many datagrams of one pod to another the guard gets to see. */
  seenBetweenPods(): number {
    const { node } = this.#at
    node.run(['nft', '-f', '-'], counting('postrouting'))
    this.send('pod', 'sibling')
    return arrivedAt(node)
  }

  /** @returns where the datagrams have come out, and what the guard has counted */
  send(from: Place, to: keyof Addresses, source?: keyof Addresses): Outcome {
    const of = ADDRESSES[this.#family]
    const before = this.#arrived()
    const script = `
      const socket = require('node:dgram').createSocket('udp${this.#family}')
      socket.bind({ port: ${PORT}${source ? `, address: '${of[source]}'` : ''} }, () => {
        let left = ${COUNT}
        for (let i = 0; i < ${COUNT}; i++) socket.send('x', ${PORT}, '${of[to]}', () => --left || socket.close())
      })
      socket.on('error', () => {})`
    this.#at[from].run([process.execPath, '-e', script])
    const after = this.#arrived()
    const listing = this.#at.node.run(['nft', 'list', 'counters', 'table', 'inet', 'podveil'])
    return {
      arrived: after.filter(([place, packets]) => packets > (new Map(before).get(place) ?? 0)).map(([place]) => place),
      counted: GUARD_COUNTERS.filter(name => packets(listing, name) > 0),
    }
  }

  #arrived(): readonly (readonly [Place, number])[] {
    return LINKS.map(([, place]) => [place, arrivedAt(this.#at[place])] as const)
  }

  [Symbol.dispose](): void {
    for (const namespace of Object.values(this.#at)) namespace[Symbol.dispose]()
  }
}

interface Outcome {
  readonly arrived: readonly Place[]
  readonly counted: readonly string[]
}

const set = (namespace: Namespace, path: string, value: number): string =>
  namespace.run(['sh', '-c', `echo ${value} > /proc/sys/${path}`])

const arrivedAt = (namespace: Namespace): number =>
  packets(namespace.run(['nft', 'list', 'counter', 'inet', 'seen', 'arrived']), 'arrived')

const packets = (listing: string, counter: string): number =>
  Number(new RegExp(`counter ${counter} \\{\\s+packets (\\d+)`).exec(listing)?.[1] ?? Number.NaN)

const GUARDS = {
  enforce: firewall(),
  audit: firewall({ guard: guard({ mode: 'audit' }) }),
  off: firewall({ guard: undefined }),
} as const

/** Who sends to a pod that is gone, from an address of theirs. */
const SENDERS = [
  { who: 'another node’s pod, by the tunnel', from: 'tunnel', source: 'otherPod' },
  { who: 'a pod', from: 'pod', source: 'pod' },
  { who: 'the node', from: 'node', source: undefined },
  { who: 'somebody outside of the cluster', from: 'underlay', source: 'stranger' },
] as const

const SHAPES: readonly Shape[] = ['a route for each pod', 'a bridge']

const each = FAMILIES.flatMap(family => SHAPES.map(shape => ({ family, shape })))

describeInNamespaces('what is for a pod of this node', () => {
  test.each(FAMILIES.flatMap(family => SENDERS.map(sender => ({ family, ...sender }))))(
    'IPv$family from $who: where its route went with it, it leaves by the default route, is counted by audit, and dropped under enforce',
    ({ family, from, source }) => {
      const outcome = (mode: keyof typeof GUARDS) => {
        using node = new Node(family, 'a route for each pod', GUARDS[mode])
        return node.send(from, 'gone', source)
      }
      expect(outcome('off').arrived).toEqual(['underlay'])
      expect(outcome('audit')).toEqual({ arrived: ['underlay'], counted: ['out_to_gone'] })
      expect(outcome('enforce')).toEqual({ arrived: [], counted: ['out_to_gone'] })
    },
  )

  test.each(FAMILIES)('IPv%i that is gone: where one route leads to all of them, it leaves by none', family => {
    for (const { from, source } of SENDERS) {
      using node = new Node(family, 'a bridge', GUARDS.off)
      expect(node.send(from, 'gone', source).arrived).toEqual([])
    }
  })

  test.each(each)('IPv$family that is there, by $shape: arrives, whoever sends, and nothing is counted', where => {
    using node = new Node(where.family, where.shape, GUARDS.enforce)
    for (const { from, source } of SENDERS)
      expect(node.send(from, 'sibling', source), from).toEqual({ arrived: ['sibling'], counted: [] })
    // Bridged frames as well, which have no route of their own.
    expect(node.seenBetweenPods()).toBe(COUNT)
  })

  test.each(FAMILIES)('IPv%i that is there, behind a router that has an address of pods: arrives', family => {
    using node = new Node(family, 'a route for each pod', GUARDS.enforce)
    node.routeBy('sibling', 'pod')
    expect(node.send('tunnel', 'sibling', 'otherPod')).toEqual({ arrived: ['pod'], counted: [] })
  })
})
