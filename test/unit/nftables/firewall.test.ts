import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cidrFromBytes } from '#wg/ip.ts'
import { Firewall } from '#wg/nftables/firewall.ts'
import { parseListing } from '#wg/nftables/listing.ts'
import { NftError } from '#wg/nftables/nft.ts'
import type { PacketFilter } from '#wg/nftables/packet-filter.ts'
import { elementsOf } from '#wg/nftables/ruleset.ts'
import { PrefixMap } from '#wg/prefix-map.ts'
import { firewall } from './fixtures.ts'
import { ModelFilter } from './model-filter.ts'

/** What goes wrong at one of the operations of a reconciliation: before it is done, after it, or because somebody else writes just then. */
interface Trouble {
  readonly at: number
  readonly what: 'fails' | 'fails though done' | 'a set is emptied' | 'a chain is flushed' | 'an element is added'
}

/** Has trouble once. */
class Troubled implements PacketFilter {
  readonly #filter: ModelFilter
  #left: number
  readonly #what: Trouble['what'] | undefined
  meddled = false

  constructor(filter: ModelFilter, trouble: Trouble | undefined) {
    this.#filter = filter
    this.#left = trouble?.at ?? -1
    this.#what = trouble?.what
  }

  apply = (ruleset: string) => this.#operation(() => this.#filter.apply(ruleset))
  list = () => this.#operation(() => this.#filter.list())
  generation = () => this.#operation(() => this.#filter.generation())

  async #operation<Result>(run: () => Promise<Result>): Promise<Result> {
    const what = this.#left-- === 0 ? this.#what : undefined
    if (what === 'fails') throw new NftError('not done')
    this.#meddle(what)
    const result = await run()
    if (what === 'fails though done') throw new NftError('done')
    return result
  }

  #meddle(what: Trouble['what'] | undefined): void {
    if (what !== 'a set is emptied' && what !== 'a chain is flushed' && what !== 'an element is added') return
    this.meddled = true
    this.#filter.meddle(({ sets, chains }) => {
      if (what === 'a set is emptied') sets.set('remote4', new Set())
      else if (what === 'a chain is flushed') chains.delete('guard_out')
      else sets.set('remote4', new Set([...(sets.get('remote4') ?? []), '192.0.2.1']))
    })
  }
}

/** Few bits that differ, so that prefixes lie in each other. */
const cidr = fc
  .tuple(fc.nat(7), fc.constantFrom(28, 29, 30, 31, 32))
  .map(([last, length]) => cidrFromBytes(Uint8Array.of(10, 0, 0, last), length))
const trouble = fc.record({
  at: fc.nat(6),
  what: fc.constantFrom<Trouble['what'][]>(
    'fails',
    'fails though done',
    'a set is emptied',
    'a chain is flushed',
    'an element is added',
  ),
})
const round = fc.record({
  toggled: fc.array(cidr, { maxLength: 3 }),
  isOff: fc.boolean(),
  mark: fc.constantFrom(1, 1, 1, 2),
  trouble: fc.option(trouble, { nil: undefined }),
})

test('whatever fails, and whoever else writes at any moment, the table is as it must be after the next pass', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(round, { maxLength: 8 }), async rounds => {
      const filter = new ModelFilter()
      let current: PacketFilter = filter
      const agents = new Firewall({
        apply: ruleset => current.apply(ruleset),
        list: (table, family) => current.list(table, family),
        generation: () => current.generation(),
      })
      const remotes = { 4: new PrefixMap<true>(), 6: new PrefixMap<true>() }
      for (const { toggled, isOff, mark, trouble } of rounds) {
        for (const cidr of toggled) if (!remotes[4].delete(cidr)) remotes[4].set(cidr, true)
        const desired = isOff ? undefined : firewall({ remotes, mark })
        current = new Troubled(filter, trouble)
        // Whoever calls it is told, and what others write has an event.
        await agents.reconcile(desired).catch(() => {})
        agents.suspect()
        current = filter
        await agents.reconcile(desired)
        if (desired) expect(filter.sets).toEqual(elementsOf(desired))
        else expect(await filter.list()).toBeUndefined()
        expect(filter.chains.has('guard_out')).toBe(desired !== undefined)
      }
    }),
    { numRuns: 1_000 },
  )
})

test('what is told of the table is another object when it is another, and only then', async () => {
  const filter = new ModelFilter()
  const agents = new Firewall(filter)
  expect(agents.listing).toBeUndefined()
  const remotes = { 4: new PrefixMap<true>(), 6: new PrefixMap<true>() }
  await agents.reconcile(firewall({ remotes }))
  const first = agents.listing
  remotes[4].set(cidrFromBytes(Uint8Array.of(10, 9, 9, 0), 24), true)
  await agents.reconcile(firewall({ remotes }))
  const second = agents.listing
  expect(second).not.toBe(first)
  expect(second?.elements.get('remote4')).toEqual(new Set(['10.9.9.0/24']))
  // Somebody else has written something of his own.
  filter.meddle(() => {})
  agents.suspect()
  await agents.reconcile(firewall({ remotes }))
  expect(agents.listing).toBe(second)
  await agents.reconcile(undefined)
  expect(agents.listing).toEqual(parseListing(''))
})
