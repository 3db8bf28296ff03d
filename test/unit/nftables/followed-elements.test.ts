import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Cidr, cidrFromBytes, familyOf } from '#wg/ip.ts'
import { FollowedElements, presentOf } from '#wg/nftables/followed-elements.ts'
import { changeElements, type Elements, elementsOf } from '#wg/nftables/ruleset.ts'
import { atOnce } from '#wg/slices.ts'
import { Table } from '#wg/table.ts'
import { firewall, prefixes } from './fixtures.ts'

/** Few bits that differ, so that prefixes lie in each other. */
const cidr = fc.oneof(
  fc
    .tuple(fc.nat(3), fc.constantFrom(24, 30, 31, 32))
    .map(([last, length]) => cidrFromBytes(Uint8Array.of(10, 0, 0, last), length)),
  fc
    .tuple(fc.nat(3), fc.constantFrom(64, 127, 128))
    .map(([last, length]) => cidrFromBytes(Uint8Array.of(0xfd, ...Array<number>(14).fill(0), last), length)),
)
const change = fc.record({ cidr, set: fc.constantFrom('localPods' as const, 'remotes' as const), comes: fc.boolean() })

const noPrefixes = () => ({ 4: new Table<Cidr, true>(), 6: new Table<Cidr, true>() })

/** A kernel that does what it is told. */
function applied(present: Elements, command: string): Elements {
  const sets = new Map(Array.from(present, ([set, elements]) => [set, new Set(elements)]))
  for (const [, verb, set = '', list = ''] of command.matchAll(/^(\w+) element inet podveil (\w+) \{ (.*) \}$/gm))
    for (const element of list.split(', ')) {
      if (verb === 'add') sets.get(set)?.add(element)
      else expect(sets.get(set)?.delete(element)).toBe(true)
    }
  return sets
}

test('what is news of the elements brings a kernel that has those before to those now, whatever comes and goes', () => {
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 10 }), rounds => {
      const tables = { localPods: noPrefixes(), remotes: noPrefixes() }
      const followed = new FollowedElements()
      const desired = firewall(tables)
      const begun = atOnce(followed.take(desired))
      expect(begun.wanted).toEqual(new Map([...elementsOf(desired)].filter(([, elements]) => elements.size > 0)))
      let present = elementsOf(desired)
      for (const changes of rounds) {
        for (const { cidr, set, comes } of changes) {
          const table = tables[set][familyOf(cidr)]
          if (comes) table.set(cidr, true)
          else table.delete(cidr)
        }
        const news = atOnce(followed.take(desired))
        present = applied(present, changeElements(news.wanted, presentOf(news.looked, present)))
        expect(present).toEqual(elementsOf(desired))
      }
    }),
    { numRuns: 500 },
  )
})

test('of sets that do not tell what has changed, what has is found', () => {
  const followed = new FollowedElements()
  atOnce(followed.take(firewall()))
  expect(atOnce(followed.take(firewall())).looked).toEqual(new Map())
  const { wanted, looked } = atOnce(followed.take(firewall({ localPods: prefixes(['10.244.9.0/24']) })))
  expect([wanted, looked].map(news => news.get('local4'))).toEqual([
    new Set(['10.244.9.0/24']),
    new Set(['10.244.1.0/24', '10.244.9.0/24']),
  ])
})
