import { constants } from 'node:os'
import { expect, test } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { fingerprint, type PublicKey } from '#keys/public-key.ts'
import type { PeerChange, WireGuardDevices } from '#wg/device/device.ts'
import { KernelDevices } from '#wg/device/kernel.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { NetlinkError } from '#wg/netlink/errors.ts'
import type { DesiredFamily, DesiredRoute, DesiredRule } from '#wg/reconcile/desired.ts'
import type { FamilyNet } from '#wg/reconcile/device-writer.ts'
import { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import { desiredSlot } from '#wg/reconcile/routes.ts'
import type { Link } from '#wg/rtnetlink/link.ts'
import type { Route } from '#wg/rtnetlink/route.ts'
import type { Rule } from '#wg/rtnetlink/rule.ts'
import { publicKey } from '../mesh/records.ts'
import { KernelModel } from '../wireguard/kernel-model.ts'

/** No link of this machine has the name: its sysctls are not to be found. */
const NAME = 'wg-no-such-link'
const TABLE = 1
const PODS = parseCidr('10.244.2.0/24')

const RULE: DesiredRule = {
  priority: 99,
  table: TABLE,
  invert: true,
  fwmark: 0x200000,
  fwmask: 0x200000,
  source: undefined,
  outputInterface: undefined,
}
const ROUTE: DesiredRoute = { table: TABLE, destination: PODS, type: 'unicast', device: NAME }
const privateKey = PrivateKey.generate()
const NOTHING: DesiredFamily = { family: 4, devices: [], routes: new Map(), rules: [], routeProtocol: 3 }
const EMPTY: DesiredFamily = {
  ...NOTHING,
  devices: [
    {
      ...{ name: NAME, privateKey, listenPort: 51820, fwmark: 0x200000, mtu: 1440 },
      addresses: new Set([parseAddress('10.244.1.1')]),
      peers: new Map(),
    },
  ],
}
const STEERING: DesiredFamily = {
  ...EMPTY,
  devices: EMPTY.devices.map(device => ({
    ...device,
    peers: new Map([
      [
        publicKey(2),
        {
          endpoint: { address: parseAddress('10.200.0.12'), port: 51820 },
          mayRoamTo: [parseAddress('10.200.0.12')],
          allowedIps: new Set([PODS]),
          persistentKeepalive: 0,
        },
      ],
    ]),
  })),
  routes: new Map([[desiredSlot(ROUTE), ROUTE]]),
  rules: [RULE],
}

/**
 * A kernel that has nothing yet, and what is done to it, in order.
 * @param livesUnderAnyName links that are up can be given another name: Linux 6.2 and later
 */
async function family(livesUnderAnyName = true) {
  const done: string[] = []
  const said: string[] = []
  const kernel = new KernelModel()
  const real = new KernelDevices(kernel, kernel, kernel.family)
  const devices: WireGuardDevices = {
    kind: 'kernel',
    read: name => {
      done.push('all read')
      return real.read(name)
    },
    readSome: (name, keys) => {
      done.push('some read')
      return real.readSome(name, keys)
    },
    create: async name => {
      done.push('device made')
      await real.create(name)
    },
    configure: async (name, change) => {
      for (const { kind } of change.peers ?? []) done.push(`peer ${kind}`)
      await real.configure(name, change)
    },
    remove: async name => {
      done.push('device removed')
      await real.remove(name)
    },
  }
  const rules: Rule[] = []
  const routes: Route[] = []
  const net: FamilyNet = {
    link: name => kernel.link(name),
    links: async () => (await Promise.all([...kernel.devices.keys()].map(name => kernel.link(name)))).filter(isLink),
    setLink: async (index, { name, up }) => {
      if (name !== undefined) {
        if (!livesUnderAnyName && !done.includes('link down')) throw new NetlinkError('set link', constants.errno.EBUSY)
        rename(kernel, index, name)
      }
      done.push(name === undefined ? (up === false ? 'link down' : 'link set') : 'link named')
    },
    addresses: async () => [],
    addAddress: async () => void done.push('address added'),
    deleteAddress: async () => {},
    routes: async () => routes,
    rules: async () => rules,
    applyRoutes: async operations =>
      operations.map(({ op }) => {
        done.push(`route ${op}`)
        return undefined
      }),
    addRule: async () => void done.push('rule added'),
    deleteRule: async () => void done.push('rule deleted'),
  }
  const notes = { wrote: () => {}, degraded: () => {}, foreign: (words: string) => void said.push(words) }
  const held = new FamilyKernel(devices, net, notes)
  const observe = () => held.observe({ family: 4, deviceNames: new Set([NAME]), tables: new Set([TABLE]) })
  await observe()
  return {
    said,
    /** Somebody else does so. @param told by the kernel, before we run into it */
    rename: async (name: string, told: boolean) => {
      const link = await kernel.link(NAME)
      if (!link) throw new Error('there is nothing to rename')
      rename(kernel, link.index, name)
      if (told) held.noteEvent({ kind: 'link', change: 'added', object: { ...link, name } })
      else held.invalidate()
      await observe()
    },
    /** Without what was read to bring it there. */
    bring: async (desired: DesiredFamily) => {
      done.length = 0
      await held.reconcile(desired)
      return done.filter(what => what !== 'all read')
    },
    /** Somebody else does so, and the kernel tells nobody. */
    meddle: (...peers: PeerChange[]) => real.configure(NAME, { peers }),
    lookAt: async (...keys: PublicKey[]) => {
      done.length = 0
      await held.observePeers(new Map([[NAME, new Set(keys)]]))
      return [...done]
    },
    peers: () => held.peers(NAME) ?? new Map(),
  }
}

const isLink = (link: Link | undefined): link is Link => link !== undefined

/** In its place: links have their index by it. */
function rename(kernel: KernelModel, index: number, name: string): void {
  const devices = [...kernel.devices].map(([old, device], i) => [i + 1 === index ? name : old, device] as const)
  kernel.devices.clear()
  for (const [each, device] of devices) kernel.devices.set(each, device)
}

test('a device has its address and is up before it has peers, peers come before routes, routes before the rule', async () => {
  const { bring } = await family()
  const made = ['device made', 'link set', 'address added', 'link set']
  expect(await bring(STEERING)).toEqual([...made, 'peer set', 'route replace', 'rule added'])
})

test('what steers goes before what accepts: the rule, routes, peers', async () => {
  const { bring } = await family()
  await bring(STEERING)
  expect(await bring(EMPTY)).toEqual(['rule deleted', 'route delete', 'peer remove'])
})

test('the device goes last', async () => {
  const { bring } = await family()
  await bring(STEERING)
  expect(await bring(NOTHING)).toEqual(['rule deleted', 'route delete', 'device removed'])
})

test('nothing is done again', async () => {
  const { bring } = await family()
  await bring(STEERING)
  expect(await bring(STEERING)).toEqual([])
})

test.each([
  { told: true, live: true, named: ['link named'] },
  { told: false, live: true, named: ['link named'] },
  { told: true, live: false, named: ['link down', 'link named'] },
])('a device that somebody renamed has its name again, and its peers: $named', async ({ told, live, named }) => {
  const { bring, rename, said } = await family(live)
  await bring(STEERING)
  await rename('wg-other', told)
  const done = await bring(STEERING)
  expect(done.slice(0, named.length)).toEqual(named)
  expect(done).not.toContain('peer set')
  expect(said).toEqual([`renamed ${NAME} to wg-other`])
})

const [ONE, OTHER] = [publicKey(2), publicKey(3)]
const ELSEWHERE = { address: parseAddress('10.200.0.99'), port: 51820 }
const WIDER = parseCidr('10.244.0.0/16')

test('of some peers alone what the device says now is taken in', async () => {
  const { bring, meddle, lookAt, peers } = await family()
  await bring(STEERING)
  await meddle({ kind: 'set', publicKey: ONE, endpoint: ELSEWHERE })
  expect(await lookAt(ONE)).toEqual(['some read'])
  expect(peers().get(ONE)?.endpoint).toEqual(ELSEWHERE)
})

test('peers that are not asked for stay what they are known as, until all are read', async () => {
  const { bring, meddle, lookAt, peers } = await family()
  await bring(STEERING)
  await meddle({ kind: 'set', publicKey: ONE, endpoint: ELSEWHERE })
  await lookAt(OTHER)
  expect(peers().get(ONE)?.endpoint).not.toEqual(ELSEWHERE)
})

test.each([
  {
    what: 'adds a peer',
    change: { kind: 'set', publicKey: OTHER },
    told: `added peer ${fingerprint(OTHER)} to ${NAME}`,
  },
  {
    what: 'removes one',
    change: { kind: 'remove', publicKey: ONE },
    told: `removed peer ${fingerprint(ONE)} from ${NAME}`,
  },
  {
    what: 'gives one another prefix',
    change: { kind: 'set', publicKey: ONE, addAllowedIps: [WIDER] },
    told: `changed what peer ${fingerprint(ONE)} of ${NAME} may send: +${WIDER}`,
  },
  {
    what: 'gives one a keepalive',
    change: { kind: 'set', publicKey: ONE, persistentKeepalive: 7 },
    told: `changed the keepalive of peer ${fingerprint(ONE)} of ${NAME} to 7`,
  },
] satisfies { what: string; change: PeerChange; told: string }[])(
  'a look at one peer finds that somebody $what, and reads all to say what it was',
  async ({ change, told }) => {
    const { bring, meddle, lookAt, said } = await family()
    await bring(STEERING)
    await meddle(change)
    expect(await lookAt(ONE)).toEqual(['some read', 'all read'])
    expect(said).toEqual([told])
  },
)

test('a look at one peer finds that somebody has put another in its place', async () => {
  const { bring, meddle, lookAt, said } = await family()
  await bring(STEERING)
  await meddle({ kind: 'remove', publicKey: ONE }, { kind: 'set', publicKey: OTHER })
  expect(await lookAt(ONE)).toEqual(['some read', 'all read'])
  expect(said).toHaveLength(2)
})
