import {
  addressBits,
  type Cidr,
  cidrAddress,
  type Endpoint,
  FAMILIES,
  type Family,
  familyOf,
  prefixLength,
} from '../ip.ts'
import { PrefixMap } from '../prefix-map.ts'
import { atOnce } from '../slices.ts'

/** Name of our table, of family inet. */
export const TABLE = 'podveil'

/** Prefixes, whatever they stand for. */
export type PrefixSet = Pick<PrefixMap<unknown>, 'table' | 'parent' | 'within'>

/** Prefixes by family. */
export type Prefixes = Readonly<Record<Family, PrefixSet>>

/** What the packet filter must do for the tunnel. */
export interface DesiredFirewall {
  /** The bit that WireGuard's own packets carry; a packet with it does not look at the mesh's routes. */
  readonly mark: number
  /** WireGuard devices. */
  readonly devices: readonly string[]
  /** UDP port of the hello inside the tunnel, which only the agents speak. */
  readonly helloPort: number
  /** Pods of this node. */
  readonly localPods: Prefixes
  /** Pods and addresses of other nodes. */
  readonly remotes: Prefixes
  /** Addresses of other nodes. */
  readonly nodes: Prefixes
  /** Addresses of our own WireGuard devices. */
  readonly deviceAddresses: Prefixes
  readonly guard: GuardRules | undefined
  /** Where what nodes send each other is steered as well. */
  readonly hosts?: HostRules | undefined
}

/** What keeps a node that steers what it sends to other nodes within reach of one that cannot take it. */
export interface HostRules {
  /** Where this node speaks with the API server: never by the tunnel. */
  readonly apiServers: readonly Endpoint[]
}

/** What keeps pod packets off the underlay, or counts those that are on it. */
export interface GuardRules {
  readonly mode: 'audit' | 'enforce'
  /** All that pods may have as an address; closed but for what is local or listed. */
  readonly supernets: Prefixes
  /** Pods and addresses of nodes that may speak in clear. */
  readonly clear: Prefixes
  /** Pods and addresses of nodes that have not said yet that they steer to us: let in in clear, and counted. */
  readonly unarmed: Prefixes
  /** Where WireGuard packets may come from. */
  readonly pinned: Prefixes
  readonly wireguardPorts: readonly number[]
}

const NONE: Prefixes = { 4: new PrefixMap(), 6: new PrefixMap() }

/** The prefixes of each set by its name. They change while the rules stay. */
export const setsOf = (desired: DesiredFirewall): ReadonlyMap<string, PrefixSet> =>
  new Map(
    FAMILIES.flatMap(family =>
      Object.entries(prefixesOf(desired)).map(([name, prefixes]) => [`${name}${family}`, prefixes[family]] as const),
    ),
  )

const prefixesOf = ({
  localPods,
  remotes,
  nodes,
  deviceAddresses,
  guard,
}: DesiredFirewall): Readonly<Record<string, Prefixes>> => ({
  local: localPods,
  remote: remotes,
  node: nodes,
  device: deviceAddresses,
  supernet: guard?.supernets ?? NONE,
  clear: guard?.clear ?? NONE,
  unarmed: guard?.unarmed ?? NONE,
  pinned: guard?.pinned ?? NONE,
})

/** An element as it is written: a single address without a length. */
export const textOf = (cidr: Cidr): string =>
  prefixLength(cidr) === addressBits(familyOf(cidr)) ? cidrAddress(cidr) : cidr

const IP = { 4: 'ip', 6: 'ip6' } as const

/** Sets and rules, as text; another text is another set of rules. */
export function structure(desired: DesiredFirewall): string {
  const names = Object.keys(prefixesOf(desired))
  const sets = FAMILIES.flatMap(family => names.map(name => declare(`${name}${family}`, family)))
  return `table inet ${TABLE} {\n${sets.join('')}${chains(desired)}}\n`
}

/** Elements of each set, as nft writes them: a single address without a length, and nothing twice. */
export type Elements = ReadonlyMap<string, ReadonlySet<string>>

export const elementsOf = (desired: DesiredFirewall): Elements => atOnce(elementsInSteps(desired))

/** The same, with a step for each prefix. */
export function* elementsInSteps(desired: DesiredFirewall): Generator<undefined, Elements> {
  const elements = new Map<string, ReadonlySet<string>>()
  for (const [name, prefixes] of setsOf(desired)) elements.set(name, yield* outermost(prefixes))
  return elements
}

/**
 * Commands that bring sets to their elements. What stays is not touched: before Linux 6.17, an element that is removed and
 * added in one transaction is not found by packets that look for it meanwhile.
 */
export function changeElements(wanted: Elements, present: Elements): string {
  const change = (command: string, set: string, elements: ReadonlySet<string>) =>
    elements.size === 0 ? '' : `${command} element inet ${TABLE} ${set} { ${[...elements].join(', ')} }\n`
  return [...wanted]
    .map(([set, elements]) => {
      const before = present.get(set) ?? NOTHING
      return `${change('delete', set, before.difference(elements))}${change('add', set, elements.difference(before))}`
    })
    .join('')
}

/**
 * The same as a change that the kernel counts, though it may find the elements as they are to be: one that changes nothing is no
 * transaction, and that of somebody else would pass for it. Nothing to change stays nothing.
 */
export const stamped = (change: string): string => {
  const set = `set inet ${TABLE} stamp`
  return change === '' ? '' : `${change}add ${set} { type mark; }\ndelete ${set}\n`
}

const NOTHING: ReadonlySet<string> = new Set()

/** A transaction that gives the sets of a new table their elements. */
export const contents = (desired: DesiredFirewall): string => atOnce(contentsInSteps(desired))

/** The same, with a step for each prefix. */
export function* contentsInSteps(desired: DesiredFirewall): Generator<undefined, string> {
  return changeElements(yield* elementsInSteps(desired), new Map())
}

/**
 * Commands that put rules in the place of those that are there. Chains stay: packets that were on their way while the
 * chains of a table were replaced have been seen to meet neither the old rules nor the new ones.
 */
export const exchange = (sets: string): string => `table inet ${TABLE} {}\nflush table inet ${TABLE}\n${sets}`

/**
 * A transaction that makes the table anew, whatever there was; for where there is none, as packets may slip through.
 * Declared first, so that the deletion finds something.
 */
export const replacement = (sets: string, elements: string): string => `${removal}${sets}${elements}`

export const removal = `table inet ${TABLE} {}\ndelete table inet ${TABLE}\n`

function declare(name: string, family: Family): string {
  return `  set ${name} { type ipv${family}_addr; flags interval; }\n`
}

/** Intervals of one set must not overlap: what lies in another prefix adds nothing. */
function* outermost(prefixes: PrefixSet): Generator<undefined, ReadonlySet<string>> {
  const texts = new Set<string>()
  for (const cidr of prefixes.table.keys()) {
    if (!prefixes.parent(cidr)) texts.add(textOf(cidr))
    yield
  }
  return texts
}

function chains({ mark, devices, helloPort, guard, hosts }: DesiredFirewall): string {
  const bit = `0x${mark.toString(16)}`
  const others = `0x${(~mark >>> 0).toString(16)}`
  const tunnels = `{ ${devices.map(name => JSON.stringify(name)).join(', ')} }`
  const each = (rule: (family: Family) => string): string => FAMILIES.map(family => `    ${rule(family)}\n`).join('')
  return `
  # While one side of a pair steers and the other does not yet, what arrives in clear would fail a strict reverse-path
  # filter: with the mark, and src_valid_mark, that filter looks at the main table. Before -290, where some look early.
  chain mark_clear {
    type filter hook prerouting priority -300; policy accept;
    iifname ${tunnels} return
${each(family => `${IP[family]} saddr @remote${family} meta mark set meta mark | ${bit}`)}  }
  # The mark also chooses the way on: what is not for this host or its pods, once its destination is known, must not be
  # sent past the tunnel.
  chain unmark_forwarded {
    type filter hook prerouting priority -90; policy accept;
    meta mark & ${bit} == 0 return
    fib daddr type local return
${each(family => `${IP[family]} daddr @local${family} return`)}    meta mark set meta mark & ${others}
  }
  # What a pod asks of this node, and a proxy leads on to another one, goes by the tunnel: rules look for the mark on what
  # comes out of it. Answers are not marked: a node that asked in clear may have no tunnel (any more).
  chain mark_led_on {
    type filter hook prerouting priority -89; policy accept;
    iifname != ${tunnels} return
    fib daddr type local return
${each(family => `${IP[family]} daddr @node${family} ct direction original meta mark set meta mark | ${bit}`)}  }
  # Pods keep the MTU that they were made with; only agents speak hello, and only this host has its device's address.
  chain into_tunnel {
    type filter hook forward priority mangle; policy accept;
    oifname != ${tunnels} return
    udp dport ${helloPort} counter drop
${each(family => `${IP[family]} saddr @device${family} counter drop`)}    tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
  }
${hosts ? hostChains(hosts, tunnels, bit, others) : ''}${guard ? guardChains(guard, tunnels) : ''}`
}

/**
 * A connection that another node begins in clear is answered in clear, as that node may have no tunnel (any more): which
 * way it came last is kept in the mark of the connection. Judged by the one who begins alone, so that two that could both
 * use the tunnel do not keep each other out of it. An agent's own way to the API server is always clear, so that it
 * learns of a key that a peer has lost; what a server on this node answers pods is theirs, and encrypted.
 */
function hostChains({ apiServers }: HostRules, tunnels: string, bit: string, others: string): string {
  const pass = `meta mark set meta mark | ${bit}`
  const each = (rule: (ip: string, family: Family) => string): string =>
    FAMILIES.map(family => `    ${rule(IP[family], family)}\n`).join('')
  const api = apiServers.flatMap(({ address, port }) => {
    const family = familyOf(address)
    const ip = IP[family]
    const asked = `meta l4proto tcp ct original ${ip} daddr ${address} ct original proto-dst ${port}`
    return [
      `    ${ip} daddr ${address} tcp dport ${port} ${pass}\n`,
      `    ${ip} daddr @node${family} ${asked} ${pass}\n`,
    ]
  })
  return `
  chain host_in {
    type filter hook input priority mangle; policy accept;
    ct direction != original return
    iifname lo return
    iifname ${tunnels} ct mark & ${bit} != 0 ct mark set ct mark & ${others}
    iifname ${tunnels} return
${each((ip, f) => `${ip} saddr @node${f} ct mark & ${bit} == 0 ct mark set ct mark | ${bit}`)}  }
  # Where the mark changes, the way is looked for anew.
  chain host_out {
    type route hook output priority mangle; policy accept;
    meta mark & ${bit} != 0 return
${api.join('')}${each((ip, f) => `${ip} daddr @node${f} ct direction reply ct mark & ${bit} != 0 ${pass}`)}  }
`
}

/**
 * Judged after NAT with the original source in mind, as a masqueraded pod is a pod; on the way in before anything else,
 * as what is let in may be answered.
 */
function guardChains({ mode, wireguardPorts }: GuardRules, tunnels: string): string {
  const verdict = (counter: GuardCounter): string => `counter name ${counter} ${mode === 'enforce' ? 'drop' : 'accept'}`
  const each = (rules: (ip: string, family: Family) => readonly string[]): string =>
    FAMILIES.flatMap(family => rules(IP[family], family).map(rule => `    ${rule}\n`)).join('')
  const counters = GUARD_COUNTERS.map(name => `  counter ${name} {}\n`).join('')
  return `
${counters}  chain guard_out {
    type filter hook postrouting priority 150; policy accept;
    oifname ${tunnels} accept
    oifname lo accept
    # Pods that are here are neighbours, their own next hop, or behind one that has an address of pods as well. What would go
    # to a gateway elsewhere is for one that is gone, along a default route.
${each((ip, f) => [
  `${ip} daddr @local${f} rt ${ip} nexthop @supernet${f} accept`,
  `${ip} daddr @local${f} ${verdict('out_to_gone')}`,
  `${ip} daddr @clear${f} accept`,
  `${ip} daddr @supernet${f} ${verdict('out_to_pod')}`,
  `${ip} daddr @node${f} ${ip} saddr @supernet${f} ${verdict('out_to_node')}`,
  `${ip} daddr @node${f} ct original ${ip} saddr @supernet${f} ${verdict('out_to_node')}`,
  `${ip} daddr @node${f} ct reply ${ip} saddr @local${f} ${verdict('out_to_node')}`,
])}  }
  chain guard_in {
    type filter hook prerouting priority -310; policy accept;
    iifname ${tunnels} accept
    iifname lo accept
${each((ip, f) => [
  `${ip} saddr @local${f} accept`,
  `${ip} saddr @clear${f} accept`,
  `${ip} saddr @unarmed${f} ${ip} daddr @supernet${f} counter name in_unarmed accept`,
  `${ip} saddr @unarmed${f} accept`,
  `${ip} saddr @supernet${f} ${verdict('in_from_pod')}`,
  `${ip} saddr @node${f} ${ip} daddr @local${f} ${verdict('in_from_node')}`,
])}  }
  # Whoever authenticates moves the endpoint to where he is: only the nodes' own addresses may try.
  chain guard_wireguard {
    type filter hook input priority -10; policy accept;
    # A comparison of ports matches UDP alone, also when it is negated.
    meta l4proto != udp accept
    udp dport != { ${wireguardPorts.join(', ')} } accept
${each((ip, f) => [`${ip} saddr @pinned${f} accept`])}    ${verdict('in_strange_endpoint')}
  }
`
}

/** What the guard counts. */
export const GUARD_COUNTERS = [
  'out_to_pod',
  'out_to_node',
  'out_to_gone',
  'in_from_pod',
  'in_from_node',
  'in_unarmed',
  'in_strange_endpoint',
] as const
export type GuardCounter = (typeof GUARD_COUNTERS)[number]
