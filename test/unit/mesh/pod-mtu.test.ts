import { describe, expect, test } from 'vitest'
import { podMtu, unclamped } from '#src/mesh/pod-mtu.ts'

const link = (name: string, mtu: number, kind?: string, up = true) => ({ name, mtu, up, kind })

describe('the MTU of pods', () => {
  test('is the largest of the veths that are up, apart from the host’s own interfaces', () => {
    const links = [link('eth0', 9_000, 'veth'), link('cali1', 1_500, 'veth'), link('cali2', 1_440, 'veth')]
    expect(podMtu([...links, link('dummy0', 9_000, 'dummy'), link('cali3', 9_000, 'veth', false)], /^eth/)).toBe(1_500)
    expect(podMtu([link('eth0', 1_500)], /^eth/)).toBe(0)
  })

  test('is worth a warning where it is larger than the tunnel’s and nothing clamps', () => {
    expect(unclamped(1_500, 1_440, false)).toMatch(/MTU of 1500, the tunnel has 1440, and nothing clamps TCP/)
    expect(unclamped(1_500, 1_440, true)).toBeUndefined()
    expect(unclamped(1_440, 1_440, false)).toBeUndefined()
    expect(unclamped(0, 1_440, false)).toBeUndefined()
  })
})
