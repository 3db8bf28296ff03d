import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CidrClaim, CidrOwners, type Claimant, ownersOf } from '#src/mesh/cidr-owners.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { type Cidr, cidrContains, FAMILIES, familyOf, parseCidr } from '#wg/ip.ts'
import { SortedPrefixes } from '#wg/sorted-prefixes.ts'

const nodes = ['a', 'b', 'c'] as NodeName[]
const [a, b] = nodes as [NodeName, NodeName]

const cidrs = [
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.0.0/26',
  '10.1.0.0/28',
  '10.1.0.0/32',
  '10.1.0.5/32',
  '10.1.0.64/26',
  '10.2.0.0/16',
  'fd00::/16',
  'fd00:1::/64',
  'fd00:1::5/128',
].map(parseCidr)

const claimant = (id: string, claims: Claimant['claims'], fields: Partial<Claimant> = {}): Claimant => ({
  id,
  createdAt: 1,
  leaving: false,
  claims,
  ...fields,
})

const claim = (cidr: string, node: NodeName, exclusive = true): CidrClaim => ({
  cidr: parseCidr(cidr),
  node,
  exclusive,
})

const ownerIn = (owners: CidrOwners, cidr: string) => owners.owner(familyOf(parseCidr(cidr))).get(parseCidr(cidr))

describe('a prefix that two claim', () => {
  test('is the older claimant’s, and the other one is told who has it', () => {
    const owners = ownersOf([
      claimant('pod x/young', [claim('10.1.0.5/32', a, false)], { createdAt: 9 }),
      claimant('pod x/old', [claim('10.1.0.5/32', b, false)], { createdAt: 3 }),
    ])
    expect(ownerIn(owners, '10.1.0.5/32')).toBe(b)
    expect(owners.refused(4).get(a)).toEqual(['10.1.0.5/32 (pod x/young) belongs to b (pod x/old)'])
  })

  test('is his who stays, however young, where the other one is leaving', () => {
    const owners = ownersOf([
      claimant('pod x/young', [claim('10.1.0.5/32', a, false)], { createdAt: 9 }),
      claimant('pod x/old', [claim('10.1.0.5/32', b, false)], { createdAt: 3, leaving: true }),
    ])
    expect(ownerIn(owners, '10.1.0.5/32')).toBe(a)
  })

  test('goes to the other one when the first is gone', () => {
    const owners = ownersOf([claimant('one', [claim('10.1.0.0/26', a)]), claimant('two', [claim('10.1.0.0/26', b)])])
    owners.remove('one')
    expect(ownerIn(owners, '10.1.0.0/26')).toBe(b)
    expect(owners.refused(4).size).toBe(0)
  })

  test('moves at once when its claimant names another node', () => {
    const owners = ownersOf([claimant('block', [claim('10.1.0.0/26', a)])])
    owners.takeChanged()
    owners.put(claimant('block', [claim('10.1.0.0/26', b)]))
    expect(ownerIn(owners, '10.1.0.0/26')).toBe(b)
    expect([...owners.of(b)]).toEqual(['10.1.0.0/26'])
    expect(owners.takeChanged()).toEqual(new Set([a, b]))
  })
})

describe('a prefix inside that of another node', () => {
  test('is refused where both are exclusive and it is the younger', () => {
    const owners = ownersOf([
      claimant('IPAM block 10.1.0.0/16', [claim('10.1.0.0/16', a)]),
      claimant('IPAM block 10.1.0.0/26', [claim('10.1.0.0/26', b)], { createdAt: 5 }),
    ])
    expect(ownerIn(owners, '10.1.0.0/26')).toBeUndefined()
    expect(owners.refused(4).get(b)).toEqual(['10.1.0.0/26 (IPAM block 10.1.0.0/26) lies inside 10.1.0.0/16 of a'])
  })

  test('is had by the node that borrowed it', () => {
    const owners = ownersOf([claimant('block', [claim('10.1.0.0/26', a), claim('10.1.0.5/32', b, false)])])
    expect(owners.owner(4).longest('10.1.0.5' as never)?.[1]).toBe(b)
    expect(owners.owner(4).longest('10.1.0.6' as never)?.[1]).toBe(a)
    expect(owners.refused(4).size).toBe(0)
  })
})

test('an address of a node itself is no pod’s, whoever says so', () => {
  const owners = ownersOf([claimant('pod x/thief', [claim('10.1.0.5/32', a, false)])])
  owners.reserve(b, [parseCidr('10.1.0.5/32')])
  expect(ownerIn(owners, '10.1.0.5/32')).toBeUndefined()
  expect(owners.refused(4).get(a)).toEqual(['10.1.0.5/32 (pod x/thief) is an address of b itself'])
  owners.reserve(b, [])
  expect(ownerIn(owners, '10.1.0.5/32')).toBe(a)
})

type Operation =
  | { readonly op: 'put'; readonly claimant: Claimant }
  | { readonly op: 'remove'; readonly id: string }
  | { readonly op: 'reserve'; readonly node: NodeName; readonly cidrs: ReadonlySet<Cidr> }

const ids = ['a', 'b', 'block 1', 'block 2', 'pod x/1']
const arbitraryOperation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .record({
        id: fc.constantFrom(...ids),
        createdAt: fc.integer({ min: 1, max: 3 }),
        leaving: fc.boolean(),
        claims: fc.uniqueArray(
          fc.record({
            cidr: fc.constantFrom(...cidrs),
            node: fc.constantFrom(...nodes),
            exclusive: fc.boolean(),
          }),
          { maxLength: 5, selector: ({ cidr }) => cidr },
        ),
      })
      .map(made => ({ op: 'put' as const, claimant: made })),
  },
  { weight: 2, arbitrary: fc.constantFrom(...ids).map(id => ({ op: 'remove' as const, id })) },
  {
    weight: 1,
    arbitrary: fc
      .record({ node: fc.constantFrom(...nodes), cidrs: fc.uniqueArray(fc.constantFrom(...cidrs), { maxLength: 2 }) })
      .map(({ node, cidrs: own }) => ({ op: 'reserve' as const, node, cidrs: new Set(own) })),
  },
)

describe('whatever is claimed, changed and taken back', () => {
  test('the verdict is that of a model that looks at all claims anew', () => {
    fc.assert(
      fc.property(fc.array(arbitraryOperation, { maxLength: 25 }), operations => {
        const owners = new CidrOwners()
        const model = new Model()
        for (const operation of operations) {
          const before = model.verdict()
          apply(owners, operation)
          model.apply(operation)
          const after = model.verdict()
          for (const family of FAMILIES) {
            const expected = [...after.owner].filter(([cidr]) => familyOf(cidr) === family)
            expect(new Map(owners.owner(family))).toEqual(new Map(expected))
          }
          for (const node of nodes) expect(new Set(owners.of(node))).toEqual(after.of(node))
          const refused = new Set([...owners.refused(4).keys(), ...owners.refused(6).keys()])
          expect(refused).toEqual(after.refused)
          const changed = owners.takeChanged()
          for (const node of nodes)
            if (before.of(node).symmetricDifference(after.of(node)).size > 0) expect(changed).toContain(node)
        }
      }),
    )
  })

  test('the order in which claims came is none of the verdict', () => {
    const claimants = fc
      .array(arbitraryOperation, { maxLength: 12 })
      .map(operations => operations.flatMap(operation => (operation.op === 'put' ? [operation.claimant] : [])))
      .map(all => [...new Map(all.map(one => [one.id, one])).values()])
    fc.assert(
      fc.property(claimants, all => {
        const [one, other] = [ownersOf(all), ownersOf(all.toReversed())]
        for (const family of FAMILIES) {
          expect(new Map(other.owner(family))).toEqual(new Map(one.owner(family)))
          expect(sorted(other.refused(family))).toEqual(sorted(one.refused(family)))
        }
      }),
    )
  })
})

const sorted = (refused: ReadonlyMap<NodeName, readonly string[]>) =>
  [...refused].map(([node, faults]) => [node, [...faults].sort()]).sort()

function apply(owners: CidrOwners, operation: Operation): void {
  if (operation.op === 'put') owners.put(operation.claimant)
  else if (operation.op === 'remove') owners.remove(operation.id)
  else owners.reserve(operation.node, [...operation.cidrs])
}

/** The rules as one would say them, with no thought of the work. */
class Model {
  readonly #claimants = new Map<string, Claimant>()
  readonly #reserved = new Map<NodeName, ReadonlySet<Cidr>>()

  apply(operation: Operation): void {
    if (operation.op === 'put') this.#claimants.set(operation.claimant.id, operation.claimant)
    else if (operation.op === 'remove') this.#claimants.delete(operation.id)
    else this.#reserved.set(operation.node, operation.cidrs)
  }

  verdict() {
    const all = [...this.#claimants.values()].flatMap(by => by.claims.map(one => ({ ...one, by })))
    const inOrder = all.sort(
      (one, other) =>
        Number(one.by.leaving) - Number(other.by.leaving) ||
        one.by.createdAt - other.by.createdAt ||
        (one.by.id < other.by.id ? -1 : 1),
    )
    const isReserved = (cidr: Cidr) => [...this.#reserved.values()].some(own => own.has(cidr))
    const first = new Map<Cidr, (typeof all)[number]>()
    for (const one of inOrder) if (!isReserved(one.cidr) && !first.has(one.cidr)) first.set(one.cidr, one)
    const owner = new Map<Cidr, NodeName>()
    const refused = new Set<NodeName>()
    for (const one of first.values()) {
      const rival = [...first.values()].some(
        other =>
          one.exclusive &&
          other.exclusive &&
          other.node !== one.node &&
          (cidrContains(other.cidr, one.cidr) || cidrContains(one.cidr, other.cidr)) &&
          inOrder.indexOf(other) < inOrder.indexOf(one) &&
          other.by !== one.by,
      )
      if (rival) refused.add(one.node)
      else owner.set(one.cidr, one.node)
    }
    for (const one of inOrder) if (isReserved(one.cidr) || first.get(one.cidr)?.node !== one.node) refused.add(one.node)
    const of = (node: NodeName) => new Set([...owner].filter(([, holder]) => holder === node).map(([cidr]) => cidr))
    return { owner, refused, of }
  }
}

test('what lies in a prefix is found among whatever others', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), fc.constantFrom(...cidrs.filter(cidr => familyOf(cidr) === 4)))),
      fc.constantFrom(...cidrs.filter(cidr => familyOf(cidr) === 4)),
      (steps, outer) => {
        const prefixes = new SortedPrefixes()
        const model = new Set<Cidr>()
        for (const [add, cidr] of steps) {
          prefixes[add ? 'add' : 'delete'](cidr)
          model[add ? 'add' : 'delete'](cidr)
        }
        const expected = [...model].filter(cidr => cidr !== outer && cidrContains(outer, cidr))
        expect([...prefixes.within(outer)].sort()).toEqual(expected.sort())
      },
    ),
  )
})
