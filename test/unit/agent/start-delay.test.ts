import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { DeviceFile } from '#src/agent/device-file.ts'
import { peersLeft, startDelay } from '#src/agent/start-delay.ts'
import { SNAPSHOT_FILE } from '#src/status/snapshot.ts'

/** As many numbers from 0 to 1 as agents, evenly spread and in no order that matters. */
const draws = (agents: number) => Array.from({ length: agents }, (_, index) => index / agents)

/** The most of these times, in milliseconds, that lie within one second. */
function busiestSecond(times: readonly number[]): number {
  const sorted = times.toSorted((a, b) => a - b)
  let most = 0
  let first = 0
  for (const [last, time] of sorted.entries()) {
    while ((sorted[first] ?? time) <= time - 1_000) first++
    most = Math.max(most, last - first + 1)
  }
  return most
}

const busiest = (agents: number, peers: number) =>
  busiestSecond(draws(agents).map(drawn => startDelay(peers, () => drawn)))

describe('agents that start together', () => {
  test.each([100, 1_000, 3_000, 5_000])('of a mesh of %i nodes ask at most a thousand in a second', nodes => {
    expect(busiest(nodes, nodes - 1)).toBeLessThanOrEqual(1_001)
  })

  test('of one where no kernel holds anything all ask at once, as their pods wait', () => {
    expect(busiest(5_000, 0)).toBe(5_000)
  })

  test('wait for five seconds at most, and in a small mesh for nothing that anybody notices', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (peers, drawn) => {
        const delay = startDelay(peers, () => drawn)
        expect(delay).toBeGreaterThanOrEqual(0)
        expect(delay).toBeLessThanOrEqual(Math.min(peers, 5_000))
      }),
    )
  })
})

describe('what an earlier agent left', () => {
  const directories: string[] = []
  afterEach(() => {
    for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
  })

  async function state(device: string | undefined, snapshotBytes: number | undefined) {
    const directory = mkdtempSync(join(tmpdir(), 'podveil-start-'))
    directories.push(directory)
    const devices = new DeviceFile(directory)
    if (device !== undefined) await devices.hold(6, { name: device, listenPort: 1, publicKey: 'k', keySince: 1 })
    if (snapshotBytes !== undefined) writeFileSync(join(directory, SNAPSHOT_FILE), ' '.repeat(snapshotBytes))
    return (...links: string[]) => peersLeft(directory, new DeviceFile(directory), new Set(links))
  }

  test('is a mesh where its device is there, and as large as its snapshot tells', async () => {
    const left = await state('wg-v6.cali', 300_000)
    expect(await left('lo', 'wg-v6.cali')).toBe(200)
  })

  test('is nothing after a reboot, which leaves the snapshot alone', async () => {
    const left = await state('wg-v6.cali', 300_000)
    expect(await left('lo', 'eth0')).toBe(0)
  })

  test('is nothing where there was no agent, or it left no snapshot, or nobody can read it', async () => {
    expect(await (await state(undefined, undefined))('lo', 'wg-v6.cali')).toBe(0)
    expect(await (await state('wg-v6.cali', undefined))('wg-v6.cali')).toBe(0)
    expect(await peersLeft('/dev/null', new DeviceFile('/dev/null'), new Set(['wg-v6.cali']))).toBe(0)
  })
})
