import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { NamespaceBench } from '../../host/device/namespace-bench.ts'
import { wgDumpAll } from '../../host/device/wg-dump.ts'
import { Scratch } from '../../unit/cluster/support/scratch.ts'
import { picture } from '../../unit/wireguard/picture.ts'
import { asChange, asConfigFile, type DeviceConfig, expectedPicture, randomConfig } from './support/device-config.ts'
import { hasWireGuard, kernelBench } from './support/kernel-devices.ts'
import { isLong } from './support/profile.ts'
import { Random } from './support/random.ts'

const CONFIGURATIONS = isLong ? 1_000 : 40
/** Devices that are there at the same time: a process costs an emulated processor more than a device does. */
const DEVICES = 20
const MOST_PEERS = 2_000

/** Mostly meshes of a few nodes, some of a hundred, and now and then one as large as they get. */
const peerCount = fc.oneof(
  { weight: 60, arbitrary: fc.nat(10) },
  { weight: 10, arbitrary: fc.integer({ min: 11, max: 120 }) },
  { weight: 1, arbitrary: fc.integer({ min: 121, max: MOST_PEERS }) },
)
const seed = fc.integer({ min: 0, max: 0xffff_ffff })
const configurations = fc.array(fc.tuple(seed, peerCount), { minLength: DEVICES, maxLength: DEVICES })

/** The ends of the range are always among them. */
const ENDS: [number, number][] = [
  [1, 0],
  [2, MOST_PEERS],
]

type ByDevice = ReadonlyMap<string, DeviceConfig>

/** Each configuration on a device of its own, some devices at a time in a namespace of all. */
const forConfigurations = async (check: (bench: NamespaceBench, given: ByDevice) => Promise<void>): Promise<void> => {
  await using bench = await kernelBench()
  const property = fc.asyncProperty(configurations, async all => {
    const given = new Map(all.map(([seed, peers]) => [bench.newName(), randomConfig(new Random(seed), peers)]))
    try {
      for (const name of given.keys()) await bench.devices.create(name)
      await check(bench, given)
    } finally {
      for (const name of given.keys()) await bench.devices.remove(name)
    }
  })
  await fc.assert(property, { numRuns: CONFIGURATIONS / DEVICES + 1, examples: [[ENDS]], endOnFailure: true })
}

describe.skipIf(!(await hasWireGuard()))(
  `the codec of WireGuard's netlink family and wg(8), ${CONFIGURATIONS} configurations each way`,
  () => {
    test('what we write is what wg shows', () =>
      forConfigurations(async (bench, given) => {
        for (const [name, config] of given) await bench.devices.configure(name, asChange(config))
        const shown = wgDumpAll(bench.real.wg(['show', 'all', 'dump']))
        expect([...shown.keys()].sort()).toEqual([...given.keys()].sort())
        for (const [name, config] of given) expect(shown.get(name), name).toEqual(expectedPicture(config))
      }))

    test('what wg setconf writes is what we read', () =>
      forConfigurations(async (bench, given) => {
        await using files = await Scratch.make()
        for (const [name, config] of given) await files.write(name, asConfigFile(config))
        bench.namespace.run([
          'sh',
          '-ec',
          'cd "$1"; for name in *; do wg setconf "$name" "$name"; done',
          'sh',
          files.path,
        ])
        for (const [name, config] of given) {
          const read = await bench.devices.read(name)
          expect(read && picture(read), name).toEqual(expectedPicture(config))
        }
      }))
  },
)
