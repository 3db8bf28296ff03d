import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Cidr, cidrContains, cidrFromBytes, familyOf, parseAddress, parseCidr } from '#wg/ip.ts'
import { formatListing, parseListing, sameListing } from '#wg/nftables/listing.ts'
import {
  changeElements,
  contents,
  elementsOf,
  exchange,
  GUARD_COUNTERS,
  replacement,
  structure,
} from '#wg/nftables/ruleset.ts'
import { firewall, guard, prefixes } from './fixtures.ts'

const chains = (text: string): string[] => [...text.matchAll(/^ {2}chain (\w+) \{/gm)].map(([, name = '']) => name)

/** Of one chain, rules only. */
const rulesOf = (text: string, chain: string): string[] =>
  (new RegExp(`^  chain ${chain} \\{\\n(.*?)^  \\}`, 'ms').exec(text)?.[1] ?? '')
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !line.startsWith('#') && !line.startsWith('type '))

const arbitraryCidr: fc.Arbitrary<Cidr> = fc.oneof(
  fc
    .tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.integer({ min: 4, max: 32 }))
    .map(([bytes, length]) => cidrFromBytes(bytes, length)),
  fc
    .tuple(fc.uint8Array({ minLength: 15, maxLength: 15 }), fc.integer({ min: 8, max: 128 }))
    .map(([bytes, length]) => cidrFromBytes(Uint8Array.of(0x20, ...bytes), length)),
)

const arbitraryPrefixes = fc.uniqueArray(arbitraryCidr, { maxLength: 12 }).map(all =>
  prefixes(
    all.filter(cidr => familyOf(cidr) === 4),
    all.filter(cidr => familyOf(cidr) === 6),
  ),
)

describe('host encryption in the ruleset', () => {
  const hosts = {
    apiServers: [{ address: parseAddress('10.96.0.1'), port: 443 }],
  }

  test('is not there without it', () => {
    expect(structure(firewall())).not.toMatch(/host_/)
  })

  test('has chains of its own, whatever the guard does', () => {
    const text = structure(firewall({ hosts, guard: undefined }))
    expect(chains(text)).toEqual([
      'mark_clear',
      'unmark_forwarded',
      'mark_led_on',
      'into_tunnel',
      'host_in',
      'host_out',
    ])
  })

  test('leads past the tunnel what answers in clear, and the way to the API server', () => {
    const rules = rulesOf(structure(firewall({ hosts })), 'host_out')
    expect(rules).toContain('ip daddr 10.96.0.1 tcp dport 443 meta mark set meta mark | 0x200000')
    expect(rules).toContain(
      'ip6 daddr @node6 ct direction reply ct mark & 0x200000 != 0 meta mark set meta mark | 0x200000',
    )
    expect(rules.filter(rule => !rule.startsWith('meta mark &')).every(rule => rule.includes('meta mark set'))).toBe(
      true,
    )
  })
})

test('what pods ask of this node and is led on to another one is marked, behind where marks are taken away, and no answers are', () => {
  const text = structure(firewall({ guard: undefined }))
  const priorityOf = (chain: string) =>
    Number(new RegExp(`chain ${chain} \\{\\s+.* priority (-?\\d+);`).exec(text)?.[1])
  expect(priorityOf('mark_led_on')).toBeGreaterThan(priorityOf('unmark_forwarded'))
  expect(rulesOf(text, 'mark_led_on')).toEqual([
    'iifname != { "wireguard.cali", "wg-v6.cali" } return',
    'fib daddr type local return',
    'ip daddr @node4 ct direction original meta mark set meta mark | 0x200000',
    'ip6 daddr @node6 ct direction original meta mark set meta mark | 0x200000',
  ])
})

describe('the guard in the ruleset', () => {
  test('off has none of its chains and counters, and keeps what the tunnel needs', () => {
    const text = structure(firewall({ guard: undefined }))
    expect(chains(text)).toEqual(['mark_clear', 'unmark_forwarded', 'mark_led_on', 'into_tunnel'])
    for (const counter of GUARD_COUNTERS) expect(text).not.toContain(counter)
  })

  test('audit drops nothing, and counts at the very rules where enforce drops', () => {
    const [audit, enforce] = (['audit', 'enforce'] as const).map(mode =>
      structure(firewall({ guard: guard({ mode }) })),
    )
    for (const chain of ['guard_out', 'guard_in', 'guard_wireguard']) {
      const dropping = rulesOf(enforce ?? '', chain).filter(rule => rule.endsWith(' drop'))
      expect(dropping.length).toBeGreaterThan(0)
      expect(rulesOf(audit ?? '', chain).filter(rule => / drop\b/.test(rule))).toEqual([])
      for (const rule of dropping) expect(rulesOf(audit ?? '', chain)).toContain(rule.replace(/drop$/, 'accept'))
    }
  })

  test('every drop of the guard is counted under a name of its own reason', () => {
    const text = structure(firewall())
    for (const chain of ['guard_out', 'guard_in', 'guard_wireguard'])
      for (const rule of rulesOf(text, chain).filter(one => one.endsWith(' drop')))
        expect(GUARD_COUNTERS).toContain(/counter name (\w+) drop/.exec(rule)?.[1])
  })

  test.each([4, 6] as const)('IPv%i is held in every chain, both ways', family => {
    const ip = family === 4 ? 'ip' : 'ip6'
    const text = structure(firewall())
    expect(rulesOf(text, 'guard_out')).toContain(`${ip} daddr @supernet${family} counter name out_to_pod drop`)
    expect(rulesOf(text, 'guard_in')).toContain(`${ip} saddr @supernet${family} counter name in_from_pod drop`)
    expect(rulesOf(text, 'guard_wireguard')).toContain(`${ip} saddr @pinned${family} accept`)
  })

  test('nothing but the tunnel, the host itself, pods that are here and listed exceptions passes', () => {
    const out = rulesOf(structure(firewall()), 'guard_out')
    expect(out.filter(rule => rule.endsWith(' accept'))).toEqual([
      'oifname { "wireguard.cali", "wg-v6.cali" } accept',
      'oifname lo accept',
      'ip daddr @local4 rt ip nexthop @supernet4 accept',
      'ip daddr @clear4 accept',
      'ip6 daddr @local6 rt ip6 nexthop @supernet6 accept',
      'ip6 daddr @clear6 accept',
    ])
  })
})

describe('what a configuration can put into the ruleset', () => {
  test('the name of a device is one quoted word, whatever of Felix’s alphabet it is made of', () => {
    const names = fc.string({ unit: fc.constantFrom(...'aZ09._+-'), minLength: 1, maxLength: 15 })
    fc.assert(
      fc.property(names, name => {
        const text = structure(firewall({ devices: [name, 'wg-v6.cali'] }))
        for (const match of ['iifname', 'oifname']) expect(text).toContain(`${match} { "${name}", "wg-v6.cali" } `)
      }),
    )
  })

  test('another port, mark or mode is another set of rules; another prefix is not', () => {
    const before = structure(firewall())
    expect(structure(firewall({ mark: 0x400000 }))).not.toBe(before)
    expect(structure(firewall({ helloPort: 9999 }))).not.toBe(before)
    expect(structure(firewall({ guard: guard({ wireguardPorts: [51822, 51821] }) }))).not.toBe(before)
    expect(structure(firewall({ guard: guard({ mode: 'audit' }) }))).not.toBe(before)
    expect(structure(firewall({ localPods: prefixes(['10.244.9.0/24']) }))).toBe(before)
    expect(structure(firewall({ guard: guard({ supernets: prefixes(['10.0.0.0/8']) }) }))).toBe(before)
  })

  test('the mark and the mask that clears it are 32 bits, also at the highest bit', () => {
    const text = structure(firewall({ mark: 0x80000000 }))
    expect(text).toContain('meta mark set meta mark | 0x80000000')
    expect(text).toContain('meta mark set meta mark & 0x7fffffff')
  })
})

describe('elements of a set', () => {
  test('never overlap, and cover all that was asked for', () => {
    fc.assert(
      fc.property(arbitraryPrefixes, wanted => {
        const sets = elementsOf(firewall({ localPods: wanted }))
        for (const family of [4, 6] as const) {
          const elements = [...(sets.get(`local${family}`) ?? [])].map(parseCidr)
          for (const one of elements)
            for (const other of elements) if (one !== other) expect(cidrContains(one, other)).toBe(false)
          for (const cidr of wanted[family].table.keys())
            expect(elements.some(element => cidrContains(element, cidr))).toBe(true)
          for (const element of elements) expect(wanted[family].table.has(element)).toBe(true)
        }
      }),
    )
  })

  test('what stays is not named in a change, and what changes is named once', () => {
    fc.assert(
      fc.property(arbitraryPrefixes, arbitraryPrefixes, (before, after) => {
        const [from, to] = [before, after].map(localPods => elementsOf(firewall({ localPods })))
        const change = changeElements(to ?? new Map(), from ?? new Map())
        const model = new Map([...(from ?? [])].map(([set, elements]) => [set, new Set(elements)]))
        for (const [, command, set = '', list = ''] of change.matchAll(
          /^(\w+) element inet podveil (\w+) \{ (.*) \}$/gm,
        ))
          for (const element of list.split(', ')) {
            if (command === 'delete') expect(model.get(set)?.delete(element)).toBe(true)
            else expect(model.get(set)?.has(element)).toBe(false)
            if (command === 'add') model.get(set)?.add(element)
          }
        expect(model).toEqual(to)
      }),
    )
  })

  test('are not changed when they are as they must be', () => {
    const elements = elementsOf(firewall())
    expect(changeElements(elements, elements)).toBe('')
  })
})

describe('transactions', () => {
  test('rules are exchanged without a deletion of the table', () => {
    expect(exchange(structure(firewall()))).toMatch(/^table inet podveil \{\}\nflush table inet podveil\ntable inet/)
    expect(exchange(structure(firewall()))).not.toContain('delete')
  })

  test('the ruleset for boot works on an empty kernel and over whatever is there', () => {
    const text = replacement(structure(firewall()), contents(firewall()))
    expect(text).toMatch(/^table inet podveil \{\}\ndelete table inet podveil\n/)
    expect(text).toContain('add element inet podveil supernet4 { 10.244.0.0/16 }')
  })
})

describe('a listing by nft', () => {
  const listing = `table inet podveil {
	counter out_to_pod {
		
	}

	set local4 {
		type ipv4_addr
		flags interval
		elements = { 10.244.1.0/24, 10.244.7.0/24,
			     10.200.0.12 comment "by hand" }
	}

	set clear4 {
		type ipv4_addr
		flags interval
	}

	chain theirs {
		ip saddr { 1.2.3.4, 5.6.7.8 } accept
	}
}
`
  test('names everything in the table, and the elements of each set', () => {
    const { objects, elements } = parseListing(listing)
    expect(objects.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      'counter out_to_pod',
      'set local4',
      'set clear4',
      'chain theirs',
    ])
    expect([...(elements.get('local4') ?? [])]).toEqual(['10.244.1.0/24', '10.244.7.0/24', '10.200.0.12'])
    expect(elements.get('clear4')).toEqual(new Set())
  })

  test('has a frame that neither elements nor counts are in', () => {
    expect(parseListing(listing).frame).not.toMatch(/elements|10\.244|packets \d/)
    expect(parseListing(listing).frame).toContain('ip saddr { 1.2.3.4, 5.6.7.8 } accept')
  })

  test('that is written again says the same', () => {
    expect(sameListing(parseListing(formatListing(parseListing(listing))), parseListing(listing))).toBe(true)
  })

  test.each([
    ['an element more', '10.244.7.0/24', '10.244.7.0/24, 10.244.8.0/24'],
    ['an element less', '10.244.7.0/24,', ''],
    ['another rule', '} accept', '} drop'],
  ])('says otherwise with %s', (_, before, after) => {
    expect(listing).toContain(before)
    expect(sameListing(parseListing(listing.replace(before, after)), parseListing(listing))).toBe(false)
  })

  test('of an absent table is empty', () => {
    expect(parseListing('')).toEqual({ frame: '', objects: [], elements: new Map() })
  })
})
