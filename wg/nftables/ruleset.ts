import { createHash } from 'node:crypto'
import { type Cidr, FAMILIES, type Family } from '../ip.ts'

/** Name of our table, of family inet. */
export const TABLE = 'podveil'

/** Prefixes by family. */
export type Prefixes = Readonly<Record<Family, ReadonlySet<Cidr>>>

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
  /** Addresses of our own WireGuard devices. */
  readonly deviceAddresses: Prefixes
}

/** The sets whose elements change while the rules stay. */
const SETS = { local: 'localPods', remote: 'remotes', device: 'deviceAddresses' } as const

const IP = { 4: 'ip', 6: 'ip6' } as const

/**
 * A transaction that makes the table what it must be, whatever it was. The rules are replaced only where they differ,
 * because that resets counters; `current` is the fingerprint of those that are there.
 */
export function ruleset(desired: DesiredFirewall, current: string | undefined): string {
  const rules = chains(desired)
  const fingerprint = fingerprintOf(rules)
  const contents = FAMILIES.flatMap(family =>
    Object.entries(SETS).map(([name, field]) => fill(`${name}${family}`, desired[field][family])),
  )
  if (current === fingerprint) return contents.map(({ flush, add }) => flush + add).join('')
  const sets = FAMILIES.flatMap(family => Object.keys(SETS).map(name => declare(`${name}${family}`, family)))
  return [
    // Declared first, so that the deletion finds something.
    `table inet ${TABLE} {}\ndelete table inet ${TABLE}\n`,
    `table inet ${TABLE} {\n  comment "podveil ${fingerprint}"\n${sets.join('')}${rules}}\n`,
    ...contents.map(({ add }) => add),
  ].join('')
}

export const removal = `table inet ${TABLE} {}\ndelete table inet ${TABLE}\n`

/** The fingerprint that a listed table carries. @param listed as listTable() returns it */
export const listedFingerprint = (listed: string | undefined): string | undefined =>
  listed === undefined ? undefined : /^\tcomment "podveil ([0-9a-f]{16})"$/m.exec(listed)?.[1]

const fingerprintOf = (rules: string): string => createHash('sha256').update(rules).digest('hex').slice(0, 16)

function declare(name: string, family: Family): string {
  return `  set ${name} { type ipv${family}_addr; flags interval; auto-merge; }\n`
}

function fill(name: string, prefixes: ReadonlySet<Cidr>): { flush: string; add: string } {
  const elements = [...prefixes].join(', ')
  return {
    flush: `flush set inet ${TABLE} ${name}\n`,
    add: elements === '' ? '' : `add element inet ${TABLE} ${name} { ${elements} }\n`,
  }
}

function chains({ mark, devices, helloPort }: DesiredFirewall): string {
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
  # Pods keep the MTU that they were made with; only agents speak hello, and only this host has its device's address.
  chain into_tunnel {
    type filter hook forward priority mangle; policy accept;
    oifname != ${tunnels} return
    udp dport ${helloPort} counter drop
${each(family => `${IP[family]} saddr @device${family} counter drop`)}    tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
  }
`
}
