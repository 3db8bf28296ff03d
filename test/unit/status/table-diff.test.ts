import { expect, test } from 'vitest'
import { tableDiff } from '#src/status/table-diff.ts'

/** As nft lists a table, in small. */
const LISTING = `table inet podveil {
	counter out_to_pod {
		
	}

	set local4 {
		type ipv4_addr
		flags interval
		elements = { 10.244.1.0/24 }
	}

	set remote4 {
		type ipv4_addr
		flags interval
		elements = { 10.200.0.12, 10.200.0.13,
			     10.244.2.0/24 }
	}

	chain mark_clear {
		type filter hook prerouting priority -300; policy accept;
		iifname { "wg-v6.cali", "wireguard.cali" } return
		ip saddr @remote4 meta mark set meta mark | 0x00200000
	}

	chain guard_out {
		type filter hook postrouting priority 150; policy accept;
		oifname "lo" accept
		ip daddr @remote4 counter name "out_to_pod" drop
	}
}
`

const without = (text: string): string => {
  expect(LISTING).toContain(text)
  return LISTING.replace(text, '')
}
const lines = (...args: Parameters<typeof tableDiff>) => tableDiff(...args).map(({ op, what }) => `${op} ${what}`)

test('a table that is as it was written differs in nothing', () => {
  expect(lines(LISTING, LISTING)).toEqual([])
  expect(lines('', undefined)).toEqual([])
})

test.each([
  ['that is gone is made', LISTING, undefined, ['add nftables table inet podveil, with its sets and chains']],
  ['that is not wanted goes', '', LISTING, ['remove nftables table inet podveil']],
  [
    'without one of its rules gets it',
    LISTING,
    without('\t\toifname "lo" accept\n'),
    ['add chain guard_out: oifname "lo" accept'],
  ],
  [
    'with a rule of somebody else loses it',
    without('\t\toifname "lo" accept\n'),
    LISTING,
    ['remove chain guard_out: oifname "lo" accept'],
  ],
  [
    'whose rules are in another order gets them into theirs',
    LISTING,
    LISTING.replace(/(\t\toifname "lo" accept\n)(.*\n)/, '$2$1'),
    ['change chain guard_out: order of the rules'],
  ],
  [
    'without elements of a set gets them, and loses those that are not its',
    LISTING,
    LISTING.replace('10.200.0.12, ', '10.9.9.9, '),
    ['add set remote4: 10.200.0.12', 'remove set remote4: 10.9.9.9'],
  ],
  [
    'whose set was emptied gets its elements',
    LISTING,
    without('\t\telements = { 10.244.1.0/24 }\n'),
    ['add set local4: 10.244.1.0/24'],
  ],
  [
    'whose chain another hook runs gets its own',
    LISTING,
    LISTING.replace('priority -300', 'priority 5'),
    [
      'add chain mark_clear: type filter hook prerouting priority -300; policy accept;',
      'remove chain mark_clear: type filter hook prerouting priority 5; policy accept;',
    ],
  ],
])('a table %s', (_, wanted, present, said) => {
  expect(lines(wanted, present)).toEqual(said)
})

test('whole chains are told by name', () => {
  const half = LISTING.replace(/\tchain guard_out \{.*?^\t\}\n/ms, '')
  expect(lines(LISTING, half)).toEqual(['add chain guard_out of nftables table inet podveil'])
  expect(lines(half, LISTING)).toEqual(['remove chain guard_out of nftables table inet podveil'])
})

test('of many elements some are named, and all are counted', () => {
  const many = Array.from({ length: 20 }, (_, i) => `10.1.${i}.0/24`).join(', ')
  const [line = ''] = lines(LISTING, LISTING.replace('10.244.1.0/24 }', `10.244.1.0/24, ${many} }`))
  expect(line).toMatch(/^remove set local4: (10\.1\.\d+\.0\/24 ){8}and 12 more$/)
})

test('whatever else differs is still a difference', () => {
  expect(lines(LISTING, `${LISTING}# somebody was here\n`)).toEqual(['change nftables table inet podveil'])
})
