import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { territories, without } from '#src/mesh/territories.ts'
import { type Cidr, cidrContains, hostCidr, nthAddress, parseCidr } from '#wg/ip.ts'
import { name, nodeRecord, viewOf } from './records.ts'

describe('where a node’s pods are', () => {
  test('is all of its prefixes, where nothing of them is elsewhere', () => {
    const { nodes } = viewOf([nodeRecord(1), nodeRecord(2)])
    expect(territories(nodes).get(name(1))).toEqual(['10.244.1.0/24'])
  })

  test('is not where another node borrowed an address, and is where it has one back', () => {
    const cidrs = (...texts: string[]) => texts.map(parseCidr)
    const { nodes } = viewOf([
      nodeRecord(1, { podCidrs: cidrs('10.0.0.0/30') }),
      nodeRecord(2, { podCidrs: cidrs('10.0.0.1/32') }),
      nodeRecord(3, { podCidrs: cidrs('10.0.0.2/31') }),
      nodeRecord(4, { podCidrs: cidrs('10.0.0.0/29', '10.0.0.3/32') }),
    ])
    const found = territories(nodes)
    expect([1, 2, 3, 4].map(index => found.get(name(index)))).toEqual([
      ['10.0.0.0/32'],
      ['10.0.0.1/32'],
      ['10.0.0.2/32'],
      ['10.0.0.4/30', '10.0.0.3/32'],
    ])
  })
})

test('where pods are does not depend on the order of Nodes, also where two claim one prefix', () => {
  const claimed = [['10.0.0.0/29', '10.0.0.0/30'], ['10.0.0.0/29'], ['10.0.0.4/31']]
  const records = claimed.map((cidrs, index) => nodeRecord(index + 1, { podCidrs: cidrs.map(parseCidr) }))
  const found = [records, records.toReversed()].map(all => territories(viewOf(all).nodes))
  expect(found[0]).toEqual(found[1])
})

test('what is left of a prefix holds each address that is in no hole, and no other', () => {
  const outer = parseCidr('10.0.0.0/28')
  const addresses = Array.from({ length: 16 }, (_, offset) => hostCidr(nthAddress(outer, offset) as never))
  const hole = fc
    .tuple(fc.constantFrom(...addresses), fc.integer({ min: 28, max: 32 }))
    .map(([address, length]) => parseCidr(address.replace('/32', `/${length}`)))
  fc.assert(
    fc.property(fc.array(hole, { maxLength: 4 }), holes => {
      const left = without(outer, holes)
      const holds = (all: readonly Cidr[], address: Cidr) => all.filter(cidr => cidrContains(cidr, address)).length
      for (const address of addresses) expect(holds(left, address)).toBe(holds(holes, address) > 0 ? 0 : 1)
    }),
  )
})
