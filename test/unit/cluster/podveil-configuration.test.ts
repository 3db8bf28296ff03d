import { describe, expect, test } from 'vitest'
import { projectPodveilConfiguration, resolvePodveilSettings } from '#src/cluster/podveil-configuration.ts'
import { PODVEIL_DEFAULTS } from '#src/mesh/guard.ts'

const layer = (name: string, spec: object) => {
  const projected = projectPodveilConfiguration({ metadata: { name }, spec })
  if (!projected) throw new Error(`${name} is not heeded`)
  return projected
}

const resolve = (...specs: readonly object[]) =>
  resolvePodveilSettings(specs.map((spec, i) => layer(i === 0 ? 'default' : 'node.a', spec)))

describe('PodveilConfiguration', () => {
  test('that says nothing leaves the defaults', () => {
    expect(resolve({})).toEqual({ settings: PODVEIL_DEFAULTS, faults: [] })
  })

  test('of a node beats that of the cluster, field by field', () => {
    const { settings } = resolve(
      { guard: 'enforce', spareListeningPort: 1000, rotation: { interval: '24h', patience: '5m' } },
      { spareListeningPort: 2000, rotation: { patience: '1m' }, pathMtuProbing: false, keyStorage: 'memory' },
    )
    expect(settings.pathMtuProbing).toBe(false)
    expect(settings.keyStorage).toBe('memory')
    expect(settings.guard).toBe('enforce')
    expect(settings.spareListeningPort).toBe(2000)
    expect(settings.rotation).toMatchObject({ interval: 86_400_000, patience: 60_000 })
  })

  test('that asks one node for new keys takes nothing from what was asked of all', () => {
    const [early, late] = ['2026-01-01T00:00:00Z', '2026-02-01T00:00:00.5Z']
    const asked = (...times: string[]) => resolve(...times.map(notBefore => ({ rotation: { notBefore } })))
    for (const { settings } of [asked(early, late), asked(late, early)])
      expect(settings.rotation.notBefore).toBe(Date.parse(late))
  })

  test.each<[string, object, RegExp]>([
    ['guard', { guard: 'on' }, /default: guard .*is not off, audit or enforce/],
    ['rotation.interval', { rotation: { interval: 'weekly' } }, /rotation\.interval .*is not a duration such as 720h/],
    ['rotation.notBefore', { rotation: { notBefore: 'today' } }, /rotation\.notBefore .*is not a time such as/],
    ['rotation', { rotation: { compromised: '13' } }, /rotation\.compromised .*is not a time such as/],
    ['keyStorage', { keyStorage: 'tpm' }, /keyStorage .*is not one of disk, memory/],
    ['pathMtuProbing', { pathMtuProbing: 'no' }, /pathMtuProbing .*is neither true nor false/],
    ['spareListeningPort', { spareListeningPort: 65_536 }, /spareListeningPort .*is not a port: 1 to 65535/],
    ['spareListeningPortV6', { spareListeningPortV6: '1' }, /spareListeningPortV6 .*is not a port/],
  ])('with a bad %s says so, and the last good value stays', (_, spec, fault) => {
    const good = resolve({ guard: 'enforce', rotation: { interval: '1h', notBefore: '2026-01-01T00:00:00Z' } }).settings
    const { settings, faults } = resolvePodveilSettings([layer('default', spec)], good)
    expect(faults).toEqual([expect.stringMatching(fault)])
    const field = Object.keys(spec)[0] === 'rotation' ? 'rotation' : 'guard'
    if (field === 'guard' && 'guard' in spec) expect(settings.guard).toBe('enforce')
    if ('rotation' in spec && 'notBefore' in (spec.rotation as object))
      expect(settings.rotation.notBefore).toBe(good.rotation.notBefore)
  })
})
