import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Cidr, cidrContains, cidrFromBytes, familyOf, hostCidr, type IpAddress, prefixLength } from '#wg/ip.ts'
import { PrefixMap } from '#wg/prefix-map.ts'

/** Few bits that differ, so that prefixes lie in each other. */
const bytes = fc.oneof(
  fc.tuple(fc.constant(10), fc.nat(1), fc.nat(3), fc.nat(3)),
  fc.tuple(fc.nat(1), fc.nat(3)).map(([a, b]) => [0xfd, a, ...Array<number>(13).fill(0), b]),
)
const cidr = fc
  .tuple(bytes, fc.nat(128))
  .map(([given, length]) => cidrFromBytes(Uint8Array.from(given), length % (given.length * 8 + 1)))
const step = fc.record({ remove: fc.boolean(), cidr })

/** The longest prefix that holds all of `inner`, by looking at each. */
function longestByHand(present: Iterable<Cidr>, inner: Cidr, below: number): Cidr | undefined {
  const around = [...present].filter(one => prefixLength(one) <= below && cidrContains(one, inner))
  return around.toSorted((a, b) => prefixLength(b) - prefixLength(a))[0]
}

const insideByHand = (present: Iterable<Cidr>, outer: Cidr): Set<Cidr> =>
  new Set([...present].filter(one => one !== outer && cidrContains(outer, one)))

it('finds what encloses an address or a prefix, and what lies in one, whatever was added and removed before', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), cidr, (steps, asked) => {
      const map = new PrefixMap<string>()
      const present = new Set<Cidr>()
      for (const { remove, cidr } of steps) {
        if (remove) expect(map.delete(cidr)).toBe(present.delete(cidr))
        else map.set(cidr, `of ${cidr}`) && present.add(cidr)
        expect(new Set(map.within(asked))).toEqual(insideByHand(present, asked))
      }
      expect(map.size).toBe(present.size)
      const address = asked.slice(0, asked.indexOf('/')) as IpAddress
      const bits = familyOf(asked) === 4 ? 32 : 128
      expect(map.longest(address)?.[0]).toBe(longestByHand(present, hostCidr(address), bits))
      expect(map.parent(asked)?.[0]).toBe(longestByHand(present, asked, prefixLength(asked) - 1))
    }),
  )
})
