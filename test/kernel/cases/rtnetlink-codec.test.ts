import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FAMILIES, type Family, type IpAddress } from '#wg/ip.ts'
import type { Route } from '#wg/rtnetlink/route.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
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

const RUNS = isLong ? 500 : 20
const MOST_ROUTES = 2_000
const MOST_RULES = 60
/** Above those that the kernel and people use; each run has one of its own. */
const FIRST_TABLE = 100_000

const seed = fc.integer({ min: 0, max: 0xffff_ffff })
const family = fc.constantFrom<Family>(...FAMILIES)
const routeCount = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 1, arbitrary: fc.integer({ min: 41, max: MOST_ROUTES }) },
)

describe(`the codecs of links, addresses, routes and rules and ip(8), ${RUNS} sets each way`, () => {
  test('routes that we write are what ip shows', () =>
    forRoutes(async ({ namespace, netlink, device }, family, table, routes) => {
      const errors = await netlink.applyRoutes(routes.map(route => ({ op: 'replace', route })))
      expect(errors.filter(Boolean)).toEqual([])
      const shown = namespace.show(`-details -${family} route show table ${table}`)
      expect(byDestination(shown.map(route => routeOfIp(family, table, device, route as Shown)))).toEqual(
        byDestination(routes),
      )
    }))

  test('routes that ip writes are what we read', () =>
    forRoutes(async ({ namespace, netlink }, family, table, routes) => {
      namespace.ip(`-${family} -batch -`, lines(routes.map(routeWords)))
      expect(byDestination(await netlink.routes({ family, table }))).toEqual(byDestination(routes))
    }))

  test('rules that we write are what ip shows', () =>
    forRules(async ({ namespace, netlink }, family, random, count) => {
      const rules = randomRules(random, family, count)
      for (const rule of rules) await netlink.addRule(rule)
      const shown = namespace.show(`-details -${family} rule show`).map(rule => ruleOfIp(family, rule as Shown))
      expect(shown.filter(isOurs)).toEqual(rules)
      for (const rule of rules) await netlink.deleteRule(rule)
    }))

  test('rules that ip writes are what we read', () =>
    forRules(async ({ namespace, netlink }, family, random, count) => {
      const rules = randomRules(random, family, count)
      namespace.ip(`-${family} -batch -`, lines(rules.map(ruleWords)))
      const read = (await netlink.rules(family)).filter(isOurs)
      expect(read).toEqual(rules)
      for (const rule of read) await netlink.deleteRule(rule)
    }))

  test('links and addresses that we write are what ip shows, and what we read', async () => {
    using bench = new Bench()
    const { namespace, netlink } = bench
    await fc.assert(
      fc.asyncProperty(seed, fc.integer({ min: 1, max: 12 }), async (seed, count) => {
        const random = new Random(seed)
        const name = `l${random.below(1_000_000)}`
        const { index } = await netlink.createLink(name, 'wireguard')
        const mtu = random.between(1_280, 9_000)
        const up = random.chance(2)
        await netlink.setLink(index, { mtu, up, alias: `alias ${random.uint32()}` })
        const added = randomAddresses(random, count)
        for (const { address, prefixLength } of added) await netlink.addAddress(index, { address, prefixLength })

        const [link] = namespace.show(`-details address show dev ${name}`)
        expect(link).toMatchObject({ ifindex: index, ifname: name, mtu, linkinfo: { info_kind: 'wireguard' } })
        const { flags, addr_info: shown } = link as unknown as {
          flags: readonly string[]
          addr_info: readonly { local: string; prefixlen: number }[]
        }
        expect(flags.includes('UP')).toBe(up)
        // The kernel gives a device that is up no link-local address of its own here: WireGuard has no hardware address.
        expect(sorted(shown.map(({ local, prefixlen }) => `${local}/${prefixlen}`))).toEqual(sorted(added.map(text)))
        expect(sorted((await netlink.addresses({ ifindex: index })).map(text))).toEqual(sorted(added.map(text)))
        expect(await netlink.link(name)).toMatchObject({ index, name, kind: 'wireguard', mtu, up })
        await netlink.deleteLink(index)
      }),
      { numRuns: RUNS, endOnFailure: true },
    )
  })
})

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

async function forRoutes(
  check: (bench: Bench, family: Family, table: number, routes: readonly Route[]) => Promise<void>,
): Promise<void> {
  using bench = new Bench()
  let table = FIRST_TABLE
  const property = fc.asyncProperty(seed, family, routeCount, async (seed, family, count) => {
    table += 1
    await check(bench, family, table, randomRoutes(new Random(seed), family, table, count, bench.device))
  })
  const largest: [number, Family, number][] = FAMILIES.map(family => [3, family, MOST_ROUTES])
  await fc.assert(property, { numRuns: RUNS, examples: largest, endOnFailure: true })
}

async function forRules(
  check: (bench: Bench, family: Family, random: Random, count: number) => Promise<void>,
): Promise<void> {
  using bench = new Bench()
  const property = fc.asyncProperty(seed, family, fc.integer({ min: 1, max: MOST_RULES }), (seed, family, count) =>
    check(bench, family, new Random(seed), count),
  )
  await fc.assert(property, { numRuns: RUNS, endOnFailure: true })
}

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
const isOurs = ({ priority }: { priority: number }): boolean => priority >= 1_000 && priority < 1_000 + MOST_RULES
const lines = (of: readonly string[]): string => of.map(line => `${line}\n`).join('')
