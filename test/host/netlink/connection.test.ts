import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { resolveFamily } from '#wg/genetlink/controller.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC, NETLINK_ROUTE } from '#wg/netlink/socket.ts'
import { makeRoute } from '#wg/rtnetlink/route.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { describeInNamespaces, Namespace } from './namespace.ts'

const RTM_GETROUTE = 26
const fixture = (name: string): string => createRequire(import.meta.url).resolve(`./fixtures/${name}`)

function isInstalled(program: string): boolean {
  try {
    execFileSync(program, ['--version'])
    return true
  } catch {
    return false
  }
}

describeInNamespaces('a connection to the kernel', () => {
  test('checks requests strictly: a dump with a header that makes no sense is refused, not answered with everything', async () => {
    using namespace = new Namespace()
    using connection = Connection.openIn(namespace.path, NETLINK_ROUTE)
    // struct rtmsg with a source length in a request for all routes.
    const payload = Uint8Array.of(2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    await expect(connection.dump({ type: RTM_GETROUTE, flags: 0, payload }, 'list routes')).rejects.toThrow(
      /^list routes: EINVAL: ./,
    )
  })

  test('finds the controller itself, and does not find what is not there', async () => {
    using namespace = new Namespace()
    using connection = Connection.openIn(namespace.path, NETLINK_GENERIC)
    expect(await resolveFamily(connection, 'nlctrl')).toMatchObject({ id: 16, groups: new Map([['notify', 16]]) })
    expect(await resolveFamily(connection, 'nosuchfamily')).toBeUndefined()
  })

  test('dumps and requests at the same time do not disturb each other', async () => {
    using namespace = new Namespace()
    namespace.addDevice('t0')
    using netlink = RouteNetlink.openIn(namespace.path)
    const link = await netlink.link('t0')
    const device = link === undefined ? {} : { device: link.index }
    const routes = Array.from({ length: 3000 }, (_, n) =>
      makeRoute({
        table: 4000,
        destination: parseCidr(`10.0.${n >>> 8}.${n & 255}`),
        type: 'unicast',
        protocol: 80,
        ...device,
      }),
    )
    const [errors, ...dumps] = await Promise.all([
      netlink.applyRoutes(routes.map(route => ({ op: 'replace', route }))),
      ...Array.from({ length: 5 }, () => netlink.routes({ family: 4, table: 4000 })),
    ])
    expect(errors.every(error => error === undefined)).toBe(true)
    expect(dumps).toHaveLength(5)
    expect(await netlink.routes({ family: 4, table: 4000 })).toHaveLength(routes.length)
  })

  test('a dump that a change interrupts is whole in the end', async () => {
    using namespace = new Namespace()
    namespace.addDevice('t0')
    const addresses = Array.from({ length: 2000 }, (_, n) => `address add 10.0.${n >>> 8}.${n & 255}/32 dev t0\n`)
    namespace.ip('-batch -', addresses.join(''))
    using reader = RouteNetlink.openIn(namespace.path)
    using writer = RouteNetlink.openIn(namespace.path)
    const ifindex = (await reader.link('t0'))?.index ?? 0
    const extra = { address: parseAddress('10.7.7.7'), prefixLength: 32 }
    for (let round = 0; round < 5; round++) {
      const [read] = await Promise.all([reader.addresses({ family: 4, ifindex }), writer.addAddress(ifindex, extra)])
      expect([2000, 2001]).toContain(read.length)
      await writer.deleteAddress(ifindex, extra)
    }
  })

  test.skipIf(!isInstalled('setpriv'))(
    'without CAP_NET_ADMIN (setpriv) a change is refused with the remedy, and reading works',
    () => {
      using namespace = new Namespace()
      const drop = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin']
      const child = [process.execPath, fixture('without-privilege.ts')]
      const output = execFileSync('ip', ['netns', 'exec', namespace.name, ...drop, ...child], { encoding: 'utf8' })
      expect(output).toBe('links: lo\ncreate bridge link t0: EPERM: needs CAP_NET_ADMIN in this network namespace\n')
    },
  )
})

describe('a process or a worker that ends with sockets open', () => {
  test('exits by itself once nothing is outstanding', () => {
    expect(execFileSync(process.execPath, [fixture('idle-connection.ts')], { encoding: 'utf8', timeout: 10_000 })).toBe(
      'read\n',
    )
  })

  test('exits cleanly in the middle of a dump', () => {
    const output = execFileSync(process.execPath, [fixture('exit-in-dump.ts')], { encoding: 'utf8', timeout: 10_000 })
    expect(output).toBe('exiting\n')
  })

  test('a worker is terminated while it receives, many times, without harm to the process', async () => {
    for (let round = 0; round < 20; round++) {
      const worker = new Worker(fixture('busy-worker.ts'))
      await once(worker, 'message')
      expect(await worker.terminate()).toBe(1)
    }
  })

  test('sockets that were forgotten are closed by the garbage collector', () => {
    const output = execFileSync(process.execPath, ['--expose-gc', fixture('forgotten-sockets.ts')], {
      encoding: 'utf8',
      timeout: 20_000,
    })
    expect(output).toBe('all closed\n')
  })
})
