import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FAMILIES, type Family, type IpAddress } from '#wg/ip.ts'
import type { Route } from '#wg/rtnetlink/route.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import type { Rule } from '#wg/rtnetlink/rule.ts'
import { Namespace } from '../../host/netlink/namespace.ts'
import {
  DEVICE,
  OWN_ADDRESS,
  OWN_PREFIX,
  randomRoutes,
  randomRules,
  routeOfIp,
  routeWords,
  ruleOfIp,
  ruleWords,
  type Shown,
} from './support/ip-objects.ts'
import { isLong } from './support/profile.ts'
import { Random } from './support/random.ts'

const SETS = isLong ? 1_000 : 40
/** Sets that are there at the same time, in a namespace of their own: a process costs an emulated processor more than they do. */
const AT_ONCE = 20
const MOST_ROUTES = 2_000
const MOST_RULES = 60
const MOST_ADDRESSES = 12
/** Above those that the kernel and people use; each set of routes has one of its own. */
const FIRST_TABLE = 100_000
/** Each set of rules has as many priorities as it may have rules. */
const FIRST_PRIORITY = 1_000

const seed = fc.integer({ min: 0, max: 0xffff_ffff })
const family = fc.constantFrom<Family>(...FAMILIES)
const routeCount = fc.oneof(
  { weight: 60, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 1, arbitrary: fc.integer({ min: 41, max: MOST_ROUTES }) },
)
const ruleCount = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 1, max: 8 }) },
  { weight: 1, arbitrary: fc.integer({ min: 9, max: MOST_RULES }) },
)

describe(`the codecs of links, addresses, routes and rules and ip(8), ${SETS} sets each way`, () => {
  test('routes that we write are what ip shows', () =>
    forRoutes(async ({ namespace, netlink, device }, family, tables) => {
      for (const routes of tables.values()) {
        const errors = await netlink.applyRoutes(routes.map(route => ({ op: 'replace', route })))
        expect(errors.filter(Boolean)).toEqual([])
      }
      const shown = Map.groupBy(namespace.show(`-details -${family} route show table all`), ({ table }) =>
        Number(table),
      )
      for (const [table, routes] of tables) {
        const read = (shown.get(table) ?? []).map(route => routeOfIp(family, table, device, route as Shown))
        expect(byDestination(read)).toEqual(byDestination(routes))
      }
    }))

  test('routes that ip writes are what we read', () =>
    forRoutes(async ({ namespace, netlink }, family, tables) => {
      namespace.ip(`-${family} -batch -`, lines([...tables.values()].flat().map(routeWords)))
      for (const [table, routes] of tables)
        expect(byDestination(await netlink.routes({ family, table }))).toEqual(byDestination(routes))
    }))

  test('rules that we write are what ip shows', () =>
    forRules(async ({ namespace, netlink }, family, rules) => {
      for (const rule of rules) await netlink.addRule(rule)
      const shown = namespace.show(`-details -${family} rule show`).map(rule => ruleOfIp(family, rule as Shown))
      expect(shown.filter(isOurs)).toEqual(rules)
    }))

  test('rules that ip writes are what we read', () =>
    forRules(async ({ namespace, netlink }, family, rules) => {
      namespace.ip(`-${family} -batch -`, lines(rules.map(ruleWords)))
      expect((await netlink.rules(family)).filter(isOurs)).toEqual(rules)
    }))

  test('links and addresses that we write are what ip shows, and what we read', () =>
    forBatches(fc.array(seed, { minLength: AT_ONCE, maxLength: AT_ONCE }), async ({ namespace, netlink }, seeds) => {
      const made: MadeLink[] = []
      for (const [at, seed] of seeds.entries()) made.push(await makeLink(netlink, `l${at}`, new Random(seed)))
      const shown = new Map(
        namespace.show('-details address show').map(link => [link.ifname, link as unknown as ShownLink]),
      )
      const read = Map.groupBy(await netlink.addresses(), ({ ifindex }) => ifindex)
      for (const { index, name, mtu, up, addresses } of made) {
        const link = shown.get(name)
        expect(link).toMatchObject({ ifindex: index, ifname: name, mtu, linkinfo: { info_kind: 'wireguard' } })
        expect(link?.flags.includes('UP')).toBe(up)
        // The kernel gives a device that is up no link-local address of its own here: WireGuard has no hardware address.
        expect(sorted(link?.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`) ?? [])).toEqual(addresses)
        expect(sorted((read.get(index) ?? []).map(text))).toEqual(addresses)
        expect(await netlink.link(name)).toMatchObject({ index, name, kind: 'wireguard', mtu, up })
      }
    }))
})

interface MadeLink {
  readonly name: string
  readonly index: number
  readonly mtu: number
  readonly up: boolean
  /** With their lengths, sorted. */
  readonly addresses: readonly string[]
}

/** What `ip -json address show` says of a link, in part. */
interface ShownLink {
  readonly flags: readonly string[]
  readonly addr_info: readonly { readonly local: string; readonly prefixlen: number }[]
}

async function makeLink(netlink: RouteNetlink, name: string, random: Random): Promise<MadeLink> {
  const { index } = await netlink.createLink(name, 'wireguard')
  const mtu = random.between(1_280, 9_000)
  const up = random.chance(2)
  await netlink.setLink(index, { mtu, up, alias: `alias ${random.uint32()}` })
  const added = randomAddresses(random, random.between(1, MOST_ADDRESSES))
  for (const { address, prefixLength } of added) await netlink.addAddress(index, { address, prefixLength })
  return { name, index, mtu, up, addresses: sorted(added.map(text)) }
}

/** A namespace with one device that routes can lead to. */
class Bench implements Disposable {
  readonly namespace = new Namespace()
  readonly netlink: RouteNetlink
  readonly device: number

  constructor() {
    const { namespace } = this
    try {
      namespace.ip('link set lo up')
      namespace.addDevice(DEVICE)
      for (const family of FAMILIES) {
        const nodad = family === 6 ? ' nodad' : ''
        namespace.ip(`address add ${OWN_ADDRESS[family]}/${OWN_PREFIX[family]} dev ${DEVICE}${nodad}`)
      }
      this.device = Number(namespace.show(`link show ${DEVICE}`)[0]?.ifindex)
      this.netlink = RouteNetlink.openIn(namespace.path)
    } catch (error) {
      namespace[Symbol.dispose]()
      throw error
    }
  }

  [Symbol.dispose](): void {
    this.netlink.close()
    this.namespace[Symbol.dispose]()
  }
}

async function forBatches<Given>(
  batch: fc.Arbitrary<Given>,
  check: (bench: Bench, given: Given) => Promise<void>,
  examples: Given[] = [],
): Promise<void> {
  const property = fc.asyncProperty(batch, async given => {
    using bench = new Bench()
    await check(bench, given)
  })
  await fc.assert(property, {
    numRuns: SETS / AT_ONCE + examples.length,
    examples: examples.map((given): [Given] => [given]),
    endOnFailure: true,
  })
}

/** Sets of routes by their tables, all of one family. */
const forRoutes = (
  check: (bench: Bench, family: Family, tables: ReadonlyMap<number, readonly Route[]>) => Promise<void>,
): Promise<void> =>
  forBatches(
    fc.tuple(family, fc.array(fc.tuple(seed, routeCount), { minLength: AT_ONCE, maxLength: AT_ONCE })),
    async (bench, [family, sets]) => {
      const routes = ([seed, count]: [number, number], at: number): [number, Route[]] => {
        const table = FIRST_TABLE + at
        return [table, randomRoutes(new Random(seed), family, table, count, bench.device)]
      }
      await check(bench, family, new Map(sets.map(routes)))
    },
    FAMILIES.map((family): [Family, [number, number][]] => [family, [[3, MOST_ROUTES]]]),
  )

/** Sets of rules one after the other, all of one family. */
const forRules = (check: (bench: Bench, family: Family, rules: readonly Rule[]) => Promise<void>): Promise<void> =>
  forBatches(
    fc.tuple(family, fc.array(fc.tuple(seed, ruleCount), { minLength: AT_ONCE, maxLength: AT_ONCE })),
    (bench, [family, sets]) =>
      check(
        bench,
        family,
        sets.flatMap(([seed, count], at) =>
          randomRules(new Random(seed), family, count, FIRST_PRIORITY + at * MOST_RULES),
        ),
      ),
  )

function randomAddresses(random: Random, count: number): { address: IpAddress; prefixLength: number }[] {
  const addresses = Array.from({ length: count }, (_, at) =>
    random.chance(2)
      ? { address: `10.${at}.${random.below(256)}.${random.between(1, 254)}`, prefixLength: random.between(16, 32) }
      : { address: `fd00:${at + 1}::${random.between(1, 9_999)}`, prefixLength: random.between(48, 128) },
  )
  return addresses as { address: IpAddress; prefixLength: number }[]
}

const text = ({ address, prefixLength }: { address: IpAddress; prefixLength: number }): string =>
  `${address}/${prefixLength}`
const sorted = (texts: readonly string[]): string[] => [...texts].sort()
const byDestination = (routes: readonly Route[]): Route[] =>
  [...routes].sort((a, b) => (a.destination < b.destination ? -1 : 1))
const isOurs = ({ priority }: { priority: number }): boolean =>
  priority >= FIRST_PRIORITY && priority < FIRST_PRIORITY + AT_ONCE * MOST_RULES
const lines = (of: readonly string[]): string => of.map(line => `${line}\n`).join('')
