import { expect, test } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import type { WireGuardDevices } from '#wg/device/device.ts'
import { KernelDevices } from '#wg/device/kernel.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import type { DesiredFamily, DesiredRule } from '#wg/reconcile/desired.ts'
import type { FamilyNet } from '#wg/reconcile/device-writer.ts'
import { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
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
const privateKey = PrivateKey.generate()
const NOTHING: DesiredFamily = { family: 4, devices: [], routes: [], rules: [], routeProtocol: 3 }
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
          mayRoamTo: new Set([parseAddress('10.200.0.12')]),
          allowedIps: new Set([PODS]),
          persistentKeepalive: 0,
        },
      ],
    ]),
  })),
  routes: [{ table: TABLE, destination: PODS, type: 'unicast', device: NAME }],
  rules: [RULE],
}

/** A kernel that has nothing yet, and what is done to it, in order. */
async function family() {
  const done: string[] = []
  const kernel = new KernelModel()
  const real = new KernelDevices(kernel, kernel, kernel.family)
  const devices: WireGuardDevices = {
    kind: 'kernel',
    read: name => real.read(name),
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
    setLink: async () => void done.push('link set'),
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
  const notes = { wrote: () => {}, degraded: () => {}, foreign: () => {} }
  const held = new FamilyKernel(devices, net, notes)
  await held.observe({ family: 4, deviceNames: new Set([NAME]), tables: new Set([TABLE]) })
  return {
    bring: async (desired: DesiredFamily) => {
      done.length = 0
      await held.reconcile(desired)
      return [...done]
    },
  }
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
