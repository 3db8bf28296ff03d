import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { wgDump } from '../../host/device/wg-dump.ts'
import { picture } from '../../unit/wireguard/picture.ts'
import { asChange, asConfigFile, expectedPicture, randomConfig } from './support/device-config.ts'
import { hasWireGuard, kernelBench } from './support/kernel-devices.ts'
import { isLong } from './support/profile.ts'
import { Random } from './support/random.ts'

const CONFIGURATIONS = isLong ? 1_000 : 40
const MOST_PEERS = 2_000

/** Mostly meshes of a few nodes, some of a hundred, and now and then one as large as they get. */
const peerCount = fc.oneof(
  { weight: 24, arbitrary: fc.nat(10) },
  { weight: 6, arbitrary: fc.integer({ min: 11, max: 120 }) },
  { weight: 1, arbitrary: fc.integer({ min: 121, max: MOST_PEERS }) },
)
const seed = fc.integer({ min: 0, max: 0xffff_ffff })

/** Each configuration on a device of its own, in a namespace of all. */
const forConfigurations = async (
  check: (bench: Awaited<ReturnType<typeof kernelBench>>, name: string, seed: number, peers: number) => Promise<void>,
): Promise<void> => {
  await using bench = await kernelBench()
  await fc.assert(
    fc.asyncProperty(seed, peerCount, async (seed, peers) => {
      const name = bench.newName()
      await bench.devices.create(name)
      try {
        await check(bench, name, seed, peers)
      } finally {
        await bench.devices.remove(name)
      }
    }),
    // The ends of the range are always among them.
    {
      numRuns: CONFIGURATIONS,
      examples: [
        [1, 0],
        [2, MOST_PEERS],
      ],
      endOnFailure: true,
    },
  )
}

describe.skipIf(!(await hasWireGuard()))(
  `the codec of WireGuard's netlink family and wg(8), ${CONFIGURATIONS} configurations each way`,
  () => {
    test('what we write is what wg shows', () =>
      forConfigurations(async (bench, name, seed, peers) => {
        const config = randomConfig(new Random(seed), peers)
        await bench.devices.configure(name, asChange(config))
        expect(wgDump(bench.real.wg(['show', name, 'dump']))).toEqual(expectedPicture(config))
      }))

    test('what wg setconf writes is what we read', () =>
      forConfigurations(async (bench, name, seed, peers) => {
        const config = randomConfig(new Random(seed), peers)
        bench.real.wg(['setconf', name, '/dev/stdin'], asConfigFile(config))
        const read = await bench.devices.read(name)
        expect(read && picture(read)).toEqual(expectedPicture(config))
      }))
  },
)
