import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cidrFromBytes, familyOf } from '#wg/ip.ts'
import { FollowedElements, presentOf, wantedOf } from '#wg/nftables/followed-elements.ts'
import { changeElements, type Elements, elementsOf } from '#wg/nftables/ruleset.ts'
import { PrefixMap } from '#wg/prefix-map.ts'
import { atOnce } from '#wg/slices.ts'
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

const noPrefixes = () => ({ 4: new PrefixMap<true>(), 6: new PrefixMap<true>() })

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
      expect(wantedOf(begun)).toEqual(elementsOf(desired))
      let present = elementsOf(desired)
      for (const changes of rounds) {
        for (const { cidr, set, comes } of changes) {
          const table = tables[set][familyOf(cidr)]
          if (comes) table.set(cidr, true)
          else table.delete(cidr)
        }
        const news = atOnce(followed.take(desired))
        present = applied(present, changeElements(wantedOf(news), presentOf(news, present)))
        expect(present).toEqual(elementsOf(desired))
      }
    }),
    { numRuns: 500 },
  )
})

test('where a set has got other prefixes than those that were followed, all that it has is looked at', () => {
  const followed = new FollowedElements()
  const before = firewall()
  atOnce(followed.take(before))
  expect(atOnce(followed.take(before))).toEqual(new Map())
  const after = { ...before, localPods: prefixes(['10.244.9.0/24']) }
  const news = atOnce(followed.take(after))
  expect([...news.keys()]).toEqual(['local4', 'local6'])
  const change = changeElements(wantedOf(news), presentOf(news, elementsOf(before)))
  expect(applied(elementsOf(before), change)).toEqual(elementsOf(after))
})
