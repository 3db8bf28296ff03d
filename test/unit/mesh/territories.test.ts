import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { NodeName } from '#src/mesh/node-record.ts'
import { Territories, without } from '#src/mesh/territories.ts'
import { type Cidr, cidrContains, hostCidr, nthAddress, parseCidr, prefixLength } from '#wg/ip.ts'
import { name } from './records.ts'

const cidrs = (...texts: string[]): Cidr[] => texts.map(parseCidr)

/** Of nodes that came in this order. */
function territoriesOf(...claimed: readonly (readonly [index: number, podCidrs: readonly Cidr[]])[]): Territories {
  const territories = new Territories()
  for (const [index, podCidrs] of claimed) territories.put(name(index), podCidrs)
  expect([...territories.takeChanged()].length).toBeLessThanOrEqual(claimed.length)
  return territories
}

describe('where a node’s pods are', () => {
  test('is all of its prefixes, where nothing of them is elsewhere', () => {
    const found = territoriesOf([1, cidrs('10.244.1.0/24')], [2, cidrs('10.244.2.0/24')])
    expect(found.of(name(1))).toEqual(['10.244.1.0/24'])
  })

  test('is not where another node borrowed an address, and is where it has one back', () => {
    const found = territoriesOf(
      [1, cidrs('10.0.0.0/30')],
      [2, cidrs('10.0.0.1/32')],
      [3, cidrs('10.0.0.2/31')],
      [4, cidrs('10.0.0.0/29', '10.0.0.3/32')],
    )
    expect([1, 2, 3, 4].map(index => found.of(name(index)))).toEqual([
      ['10.0.0.0/32'],
      ['10.0.0.1/32'],
      ['10.0.0.2/32'],
      ['10.0.0.4/30', '10.0.0.3/32'],
    ])
  })

  test('is told of a change for those alone that it is one for', () => {
    const found = territoriesOf([1, cidrs('10.0.0.0/30')], [2, cidrs('10.0.1.0/30')])
    found.put(name(3), cidrs('10.0.0.1/32'))
    expect(new Set(found.takeChanged())).toEqual(new Set([name(1), name(3)]))
    found.put(name(3), [])
    expect(new Set(found.takeChanged())).toEqual(new Set([name(1), name(3)]))
    expect(found.of(name(1))).toEqual(['10.0.0.0/30'])
    found.put(name(2), cidrs('10.0.1.0/30'))
    expect([...found.takeChanged()]).toEqual([])
  })
})

test('where pods are does not depend on the order of Nodes, also where two claim one prefix', () => {
  const claimed = [
    [1, cidrs('10.0.0.0/29', '10.0.0.0/30')],
    [2, cidrs('10.0.0.0/29')],
    [3, cidrs('10.0.0.4/31')],
  ] as const
  const [found, reversed] = [territoriesOf(...claimed), territoriesOf(...claimed.toReversed())]
  for (const [index] of claimed) expect(found.of(name(index))).toEqual(reversed.of(name(index)))
})

describe('whatever nodes come, change and go', () => {
  const ADDRESSES = Array.from({ length: 16 }, (_, offset) => nthAddress(parseCidr('10.0.0.0/28'), offset))
  const prefix = fc
    .tuple(fc.constantFrom(...ADDRESSES), fc.integer({ min: 28, max: 32 }))
    .map(([address, length]) => parseCidr(`${address}/${length}`))
  const change = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.uniqueArray(prefix, { maxLength: 3 }))

  /** Of a node's own prefix an address is its, unless the longest prefix around it is another's. */
  function holdsByHand(claims: ReadonlyMap<NodeName, readonly Cidr[]>, node: NodeName, address: Cidr): boolean {
    const around = [...claims].flatMap(([owner, all]) =>
      all.filter(cidr => cidrContains(cidr, address)).map(cidr => ({ owner, length: prefixLength(cidr) })),
    )
    const longest = Math.max(...around.map(({ length }) => length))
    const owners = around.filter(({ length }) => length === longest).map(({ owner }) => owner)
    return owners.includes(node)
  }

  test('each address is where its longest prefix is, and what is told to have changed is all that has', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), changes => {
        const territories = new Territories()
        const claims = new Map<NodeName, readonly Cidr[]>()
        const known = new Map<NodeName, readonly Cidr[]>()
        for (const [index, podCidrs] of changes) {
          claims.set(name(index), podCidrs)
          territories.put(name(index), podCidrs)
          for (const node of territories.takeChanged()) known.set(node, territories.of(node))
          for (const node of claims.keys()) {
            expect(territories.of(node)).toEqual(known.get(node) ?? [])
            for (const address of ADDRESSES.map(address => hostCidr(address as never)))
              expect(territories.of(node).some(cidr => cidrContains(cidr, address))).toBe(
                holdsByHand(claims, node, address),
              )
          }
        }
      }),
      { numRuns: 1_000 },
    )
  })
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
