import { describe, expect, test } from 'vitest'
import { PATIENCE, TunnelPulse } from '#src/mesh/tunnel-pulse.ts'
import { peerStatus, publicKey } from './records.ts'

const KEY = publicKey(2)

/** Whether the tunnel is mute at the end of what its counters were seen to be, every five seconds. */
function isMute(counters: readonly (readonly [rx: number, tx: number])[], persistentKeepalive = 0): boolean {
  const pulse = new TunnelPulse()
  let now = 0
  for (const [rx, tx] of counters) {
    now += 5_000
    pulse.note([peerStatus(KEY, { rxBytes: BigInt(rx), txBytes: BigInt(tx), persistentKeepalive })], now)
  }
  return pulse.mute(now).has(KEY)
}

const SILENT_FOR_LONG = PATIENCE / 5_000

describe('a tunnel', () => {
  test('that is asked and never answers is mute', () => {
    expect(isMute([[100, 100], ...Array.from({ length: SILENT_FOR_LONG + 1 }, () => [100, 300] as const)])).toBe(true)
  })

  test('is given time to answer', () => {
    expect(isMute([[100, 100], ...Array.from({ length: SILENT_FOR_LONG }, () => [100, 300] as const)])).toBe(false)
  })

  test('that nobody asks anything is not mute, however long it is at rest', () => {
    expect(isMute(Array.from({ length: 100 }, () => [100, 100] as const))).toBe(false)
  })

  test('is not asked by the keepalive that follows what it said, nor by those that are configured', () => {
    expect(isMute([[100, 100], ...Array.from({ length: 100 }, () => [100, 132] as const)])).toBe(false)
    const steady = Array.from({ length: 100 }, (_, i) => [100, 100 + i * 32] as const)
    expect(isMute(steady, 5)).toBe(false)
    expect(isMute(steady, 25)).toBe(true)
  })

  test('that answers again is mute no more', () => {
    const silent = Array.from({ length: 10 }, () => [100, 300] as const)
    expect(isMute([[100, 100], ...silent])).toBe(true)
    expect(isMute([[100, 100], ...silent, [192, 448]])).toBe(false)
  })

  test('of a peer that is gone is forgotten', () => {
    const pulse = new TunnelPulse()
    pulse.note([peerStatus(KEY)], 0)
    pulse.note([peerStatus(KEY, { txBytes: 300n })], 1)
    pulse.note([], 2)
    expect(pulse.mute(PATIENCE * 2)).toEqual(new Set())
  })
})
