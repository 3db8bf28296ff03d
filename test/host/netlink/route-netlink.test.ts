import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import type { Link } from '#wg/rtnetlink/link.ts'
import { makeRoute, type Route, sameRoute } from '#wg/rtnetlink/route.ts'
import { RouteNetlink, type RouteOperation } from '#wg/rtnetlink/route-netlink.ts'
import { makeRule, sameRule } from '#wg/rtnetlink/rule.ts'
import { describeInNamespaces, Namespace } from './namespace.ts'

const TABLE = 4000
const PROTOCOL = 80

const replace = (route: Route): RouteOperation => ({ op: 'replace', route })
const remove = (route: Route): RouteOperation => ({ op: 'delete', route })

async function withDevice(netlink: RouteNetlink, namespace: Namespace): Promise<Link> {
  namespace.addDevice('t0')
  const link = await netlink.link('t0')
  if (link === undefined) throw new Error('no t0')
  return link
}

/** One of each sort that Podveil writes, in both families. */
const ourRoutes = (device: number): Route[] => [
  route('0.0.0.0/0', { type: 'unreachable' }),
  route('10.0.0.0/8', { type: 'throw' }),
  route('10.1.0.0/24', { type: 'unicast', device, mtu: 1380 }),
  route('10.2.0.0/24', { type: 'unicast', device, source: parseAddress('10.9.0.1') }),
  route('fd00::/8', { type: 'throw' }),
  route('fd01::/64', { type: 'unicast', device }),
  route('::/0', { type: 'unicast', device, mtu: 1280 }),
]

const route = (destination: string, rest: Pick<Route, 'type'> & Partial<Route>): Route =>
  makeRoute({ table: TABLE, protocol: PROTOCOL, destination: parseCidr(destination), ...rest })

describeInNamespaces('links', () => {
  test('a link that we make, set and rename is what ip shows', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const link = await netlink.createLink('t0', 'bridge')
    await netlink.setLink(link.index, { mtu: 1400, up: true, alias: 'made by a test' })
    await netlink.setLink(1, { up: true })
    const [shown] = namespace.show('-details link show t0')
    expect(shown).toMatchObject({ ifindex: link.index, mtu: 1400, ifalias: 'made by a test' })
    expect(shown?.linkinfo).toMatchObject({ info_kind: 'bridge' })
    expect(shown?.flags).toContain('UP')

    await netlink.setLink(link.index, { up: false, alias: '' })
    await netlink.setLink(link.index, { name: 't1' })
    const [renamed] = namespace.show('link show t1')
    expect(renamed?.flags).not.toContain('UP')
    expect(renamed?.ifalias).toBeUndefined()
  })

  test('a link that ip makes is what we read', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    namespace.ip('link add b0 mtu 1300 type bridge')
    namespace.ip('link add v0 type veth peer name v1')
    namespace.ip('link set v0 master b0')
    const links = await netlink.links()
    expect(links.map(({ name }) => name).toSorted()).toEqual(['b0', 'lo', 'v0', 'v1'])
    const bridge = await netlink.link('b0')
    const end = links.find(({ name }) => name === 'v0')
    const other = links.find(({ name }) => name === 'v1')
    expect(bridge).toMatchObject({ kind: 'bridge', up: false, lowerUp: false, operState: 'down' })
    expect(end).toMatchObject({ kind: 'veth', master: bridge?.index, linkIndex: other?.index })
  })

  test('a link that is not there is undefined, one that is deleted is gone, and a name that is taken is refused', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    expect(await netlink.link('t0')).toBeUndefined()
    const link = await netlink.createLink('t0', 'bridge')
    await expect(netlink.createLink('t0', 'bridge')).rejects.toMatchObject({ errnoName: 'EEXIST' })
    await netlink.deleteLink(link.index)
    expect(await netlink.link('t0')).toBeUndefined()
    await expect(netlink.deleteLink(link.index)).rejects.toMatchObject({ errnoName: 'ENODEV' })
  })

  test('a kind that the kernel does not have is an error that says so', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    await expect(netlink.createLink('t0', 'nosuchkind')).rejects.toThrow(
      /^create nosuchkind link t0: EOPNOTSUPP: Unknown device type; this kernel lacks/,
    )
  })

  test('a name that is too long is refused before it is cut', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    await expect(netlink.createLink('sixteencharacter', 'bridge')).rejects.toMatchObject({ code: 'ERR_NETLINK_FORMAT' })
  })
})

describeInNamespaces('addresses', () => {
  test('an address that we add is what ip shows, usable at once, and adding it again changes nothing', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    for (const [text, prefixLength] of [
      ['10.9.0.1', 32],
      ['10.8.0.1', 24],
      ['fd00::1', 128],
    ] as const) {
      await netlink.addAddress(index, { address: parseAddress(text), prefixLength })
      await netlink.addAddress(index, { address: parseAddress(text), prefixLength })
    }
    const [shown] = namespace.show('address show t0')
    const addresses = (shown?.addr_info ?? []) as Record<string, unknown>[]
    expect(addresses.filter(({ scope }) => scope === '0')).toEqual([
      expect.objectContaining({ local: '10.9.0.1', prefixlen: 32 }),
      expect.objectContaining({ local: '10.8.0.1', prefixlen: 24 }),
      expect.objectContaining({ local: 'fd00::1', prefixlen: 128, nodad: true }),
    ])
    expect(addresses.some(({ tentative }) => tentative)).toBe(false)
  })

  test('an address that ip adds is what we read, of each family and device', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    namespace.ip('link set lo up')
    namespace.ip('address add 10.9.0.1 peer 10.9.0.2 dev t0')
    namespace.ip('address add fd00::1/64 dev t0 nodad')
    const ours = await netlink.addresses({ ifindex: index })
    expect(ours.find(({ address }) => address === '10.9.0.1')).toMatchObject({ peer: '10.9.0.2', prefixLength: 32 })
    expect(ours.find(({ address }) => address === 'fd00::1')).toMatchObject({ prefixLength: 64, scope: 0 })
    expect(ours.every(({ ifindex }) => ifindex === index)).toBe(true)
    const all = await netlink.addresses({ family: 4 })
    expect(all.map(({ address }) => address)).toEqual(['127.0.0.1', '10.9.0.1'])
  })

  test('an address is deleted alone, and one that is not there is an error', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    const [kept, deleted] = [parseAddress('10.9.0.1'), parseAddress('10.9.0.2')]
    for (const address of [kept, deleted]) await netlink.addAddress(index, { address, prefixLength: 32 })
    await netlink.deleteAddress(index, { address: deleted, prefixLength: 32 })
    expect((await netlink.addresses({ family: 4 })).map(({ address }) => address)).toEqual([kept])
    await expect(netlink.deleteAddress(index, { address: deleted, prefixLength: 32 })).rejects.toMatchObject({
      errnoName: 'EADDRNOTAVAIL',
    })
  })
})

describeInNamespaces('routes', () => {
  test('routes that we write are what ip shows', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    await netlink.addAddress(index, { address: parseAddress('10.9.0.1'), prefixLength: 32 })
    expect(await netlink.applyRoutes(ourRoutes(index).map(replace))).toEqual(ourRoutes(index).map(() => undefined))
    const protocol = String(PROTOCOL)
    expect(namespace.show(`route show table ${TABLE}`)).toEqual([
      { type: '7', dst: 'default', protocol, flags: [] },
      { type: '9', dst: '10.0.0.0/8', protocol, flags: [] },
      { dst: '10.1.0.0/24', dev: 't0', protocol, scope: '253', flags: [], metrics: [{ mtu: 1380 }] },
      { dst: '10.2.0.0/24', dev: 't0', protocol, scope: '253', prefsrc: '10.9.0.1', flags: [] },
    ])
    expect(namespace.show(`-6 route show table ${TABLE}`)).toEqual([
      { dst: 'fd01::/64', dev: 't0', protocol, metric: 1024, flags: [], pref: 'medium' },
      { type: '9', dst: 'fd00::/8', dev: 'lo', protocol, metric: 1024, flags: [], pref: 'medium' },
      { dst: 'default', dev: 't0', protocol, metric: 1024, flags: [], metrics: [{ mtu: 1280 }], pref: 'medium' },
    ])
  })

  test('routes that ip writes are what we would have written', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    await netlink.addAddress(index, { address: parseAddress('10.9.0.1'), prefixLength: 32 })
    const end = `table ${TABLE} protocol ${PROTOCOL}`
    namespace.ip(`route add unreachable default ${end}`)
    namespace.ip(`route add throw 10.0.0.0/8 ${end}`)
    namespace.ip(`route add 10.1.0.0/24 dev t0 ${end} mtu 1380`)
    namespace.ip(`route add 10.2.0.0/24 dev t0 ${end} src 10.9.0.1`)
    namespace.ip(`-6 route add throw fd00::/8 ${end}`)
    namespace.ip(`-6 route add fd01::/64 dev t0 ${end}`)
    namespace.ip(`-6 route add default dev t0 ${end} mtu 1280`)
    const read = [
      ...(await netlink.routes({ family: 4, table: TABLE })),
      ...(await netlink.routes({ family: 6, table: TABLE })),
    ]
    for (const ours of ourRoutes(index)) expect(read.filter(route => sameRoute(route, ours))).toHaveLength(1)
    expect(read).toHaveLength(ourRoutes(index).length)
  })

  test('every route that ip can make is put back as it was, multipath and encapsulation included', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    await netlink.addAddress(index, { address: parseAddress('10.9.0.1'), prefixLength: 24 })
    for (const words of [
      '10.1.0.0/24 nexthop via 10.9.0.2 dev t0 weight 2 nexthop via 10.9.0.3 dev t0',
      '10.2.0.0/24 via 10.9.0.2 dev t0 metric 7 tos 8 mtu lock 1300 advmss 1200 congctl reno',
      '10.3.0.0/24 via 172.16.0.1 dev t0 onlink realms 5',
      '10.4.0.0/24 via inet6 fe80::1 dev t0',
      'prohibit 10.5.0.0/24',
    ])
      namespace.ip(`route add table ${TABLE} ${words}`)
    namespace.ip(`-6 route add fd02::/64 via fe80::1 dev t0 table ${TABLE} metric 5 pref high`)
    for (const family of [4, 6] as const) {
      const before = namespace.show(`-${family} route show table ${TABLE}`)
      const routes = await netlink.routes({ family, table: TABLE })
      expect(await netlink.applyRoutes(routes.map(remove))).toEqual(routes.map(() => undefined))
      expect(await netlink.routes({ family, table: TABLE })).toEqual([])
      expect(await netlink.applyRoutes(routes.map(replace))).toEqual(routes.map(() => undefined))
      expect(namespace.show(`-${family} route show table ${TABLE}`)).toEqual(before)
    }
  })

  test('a table that does not exist is empty', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    expect(await netlink.routes({ family: 4, table: 12345 })).toEqual([])
    expect(await netlink.routes({ family: 6, table: 12345 })).toEqual([])
  })

  test('replacing a route leaves one route, whatever its type was', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    for (const destination of ['10.1.0.0/24', 'fd01::/64']) {
      const [dead, alive] = [
        route(destination, { type: 'throw' }),
        route(destination, { type: 'unicast', device: index }),
      ]
      for (const each of [dead, alive, alive, dead])
        expect(await netlink.applyRoutes([replace(each)])).toEqual([undefined])
    }
    const left = [
      ...(await netlink.routes({ family: 4, table: TABLE })),
      ...(await netlink.routes({ family: 6, table: TABLE })),
    ]
    expect(left.map(({ type }) => type)).toEqual(['throw', 'throw'])
  })

  test('one route that fails does not stop the others, and each says what became of it', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    const results = await netlink.applyRoutes([
      replace(route('10.1.0.0/24', { type: 'unicast', device: index })),
      replace(route('10.2.0.0/24', { type: 'unicast', device: 4711 })),
      remove(route('10.3.0.0/24', { type: 'unicast', device: index })),
      replace(route('10.4.0.0/24', { type: 'throw' })),
    ])
    expect(results.map(error => error?.message)).toEqual([
      undefined,
      'replace route 10.2.0.0/24 dev #4711 table 4000: ENODEV: no such device',
      `delete route 10.3.0.0/24 dev #${index} table 4000: ESRCH: there is no such object`,
      undefined,
    ])
    expect(await netlink.routes({ family: 4, table: TABLE })).toHaveLength(2)
  })

  test.each([
    ['of another program', 'protocol static'],
    ['of another metric', `protocol ${PROTOCOL} metric 77`],
    ['on another device', `protocol ${PROTOCOL} metric 50`, 't1'],
    ['of another table', `protocol ${PROTOCOL} metric 50`, 't0', TABLE + 1],
  ])('a similar route %s is not deleted in place of ours', async (_, rest, device = 't0', table = TABLE) => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    namespace.addDevice('t1')
    for (const destination of ['10.1.0.0/24', 'fd01::/64']) {
      const words = `route add ${destination} dev ${device} table ${table} ${rest}`
      namespace.ip(destination.includes(':') ? `-6 ${words}` : words)
      const [error] = await netlink.applyRoutes([
        remove(route(destination, { type: 'unicast', device: index, metric: 50 })),
      ])
      expect(error?.errnoName).toMatch(/^(ESRCH|ENOENT)$/)
    }
    expect(await netlink.routes({ family: 4, table })).toHaveLength(1)
    expect(await netlink.routes({ family: 6, table })).toHaveLength(1)
  })

  test('a device route is not deleted in place of a throw route', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    for (const destination of ['10.1.0.0/24', 'fd01::/64']) {
      await netlink.applyRoutes([replace(route(destination, { type: 'unicast', device: index }))])
      const [error] = await netlink.applyRoutes([remove(route(destination, { type: 'throw' }))])
      expect(error?.errnoName).toBe('ESRCH')
    }
  })
})

describeInNamespaces('rules', () => {
  const steering = makeRule({ family: 4, priority: 99, table: TABLE, invert: true, fwmark: 0x100000, fwmask: 0x100000 })
  const pods = makeRule({ family: 6, priority: 98, table: 4001, source: parseCidr('fd00:1::/64') })

  test('rules that we add are what ip shows', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    await netlink.addRule(steering)
    await netlink.addRule(pods)
    await expect(netlink.addRule(steering)).rejects.toMatchObject({ errnoName: 'EEXIST' })
    expect(namespace.show('-details rule')).toContainEqual({
      priority: 99,
      not: null,
      src: 'all',
      fwmark: '0x100000',
      fwmask: '0x100000',
      table: '4000',
      protocol: '2',
    })
    expect(namespace.show('-details -6 rule')).toContainEqual(
      expect.objectContaining({ priority: 98, src: 'fd00:1::', srclen: 64, table: '4001' }),
    )
  })

  test('rules that ip adds are what we read, and are put back as they were', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    for (const words of [
      'not from all fwmark 0x100000/0x100000 lookup 4000 priority 99 protocol kernel',
      'from 10.0.0.0/8 to 10.1.0.0/16 iif lo oif eth7 lookup 100 priority 200',
      'from all ipproto tcp sport 100-200 dport 80 lookup 101 priority 201 tos 8',
      'from all lookup 102 suppress_prefixlength 0 priority 202',
      'from all fwmark 0/0xff prohibit priority 203',
      'from all uidrange 100-200 lookup 103 priority 204 realms 3',
      'from all goto 32766 priority 205',
    ])
      namespace.ip(`rule add ${words}`)
    const before = namespace.show('-details rule')
    const ours = (await netlink.rules(4)).filter(({ priority }) => priority > 0 && priority < 32766)
    expect(ours[0]).toEqual(steering)
    expect(ours).toHaveLength(7)
    for (const rule of ours) await netlink.deleteRule(rule)
    expect(await netlink.rules(4)).toHaveLength(3)
    for (const rule of ours) await netlink.addRule(rule)
    expect(namespace.show('-details rule')).toEqual(before)
  })

  test('a similar rule is not deleted in place of ours', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const foreign = 'rule add from 10.0.0.0/8 fwmark 0x100000/0x100000 lookup 4000 priority 99 protocol kernel'
    namespace.ip(foreign)
    await expect(netlink.deleteRule(steering)).rejects.toMatchObject({ errnoName: 'ENOENT' })
    await netlink.addRule(steering)
    await expect(netlink.deleteRule(steering)).rejects.toThrow('a similar rule comes before it')
    expect((await netlink.rules(4)).filter(rule => rule.priority === 99)).toHaveLength(2)

    namespace.ip(foreign.replace('add', 'del'))
    await netlink.deleteRule(steering)
    expect((await netlink.rules(4)).some(rule => sameRule(rule, steering))).toBe(false)
  })
})

describeInNamespaces('the way of one packet', () => {
  test.each([
    { to: '10.1.0.9', rule: 'not from all fwmark 0x200000/0x200000 lookup 4000 priority 99', subnet: '10.1.0.0/16' },
    { to: 'fd01::9', rule: 'not from all fwmark 0x200000/0x200000 lookup 4000 priority 99', subnet: 'fd01::/32' },
  ])('is what the kernel says: rules, marks, throw routes and all ($to)', async ({ to, rule, subnet }) => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    const family = to.includes(':') ? '-6' : '-4'
    namespace.addDevice('t1')
    const tunnel = (await netlink.link('t1'))?.index
    namespace.ip(`${family} route add ${subnet} dev t0`)
    namespace.ip(`${family} rule add ${rule}`)
    namespace.ip(`${family} route add throw ${subnet} table ${TABLE}`)
    const address = parseAddress(to)
    expect(await netlink.lookUp({ to: address })).toMatchObject({ table: 254, destination: subnet, device: index })

    namespace.ip(`${family} route add ${to} dev t1 table ${TABLE}`)
    expect(await netlink.lookUp({ to: address })).toMatchObject({ table: TABLE, device: tunnel, type: 'unicast' })
    expect(await netlink.lookUp({ to: address, mark: 0x200000 })).toMatchObject({ table: 254, device: index })
  })

  test('of a forwarded packet is told by where it comes in', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    const { index } = await withDevice(netlink, namespace)
    namespace.addDevice('t1')
    const other = (await netlink.link('t1'))?.index
    execFileSync('ip', ['netns', 'exec', namespace.name, 'sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward'])
    namespace.ip('address add 10.1.0.1/24 dev t0')
    namespace.ip('route add 10.2.0.0/24 dev t1')
    namespace.ip('rule add iif t0 lookup 4000 priority 99')
    namespace.ip('route add 10.2.0.0/24 dev t0 table 4000')
    const [to, from] = [parseAddress('10.2.0.9'), parseAddress('10.1.0.9')]
    expect(await netlink.lookUp({ to })).toMatchObject({ table: 254, device: other })
    expect(await netlink.lookUp({ to, from, iif: index })).toMatchObject({ table: 4000, device: index })
  })

  test('of a packet that has none is an error that says so', async () => {
    using namespace = new Namespace()
    using netlink = RouteNetlink.openIn(namespace.path)
    await expect(netlink.lookUp({ to: parseAddress('192.0.2.1') })).rejects.toMatchObject({ errnoName: 'ENETUNREACH' })
  })
})
