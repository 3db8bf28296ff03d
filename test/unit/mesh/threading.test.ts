import { describe, expect, test } from 'vitest'
import { decideThreading } from '#src/mesh/threading.ts'

const VERSION = '#1 SMP PREEMPT_DYNAMIC Mon Jan  5 10:00:00 UTC 2026'

describe('threaded NAPI', () => {
  test('is turned on where it is asked for, and otherwise left as the kernel has it', () => {
    expect(decideThreading(true, '6.12.90', VERSION)).toEqual({ threaded: true, refusal: undefined })
    expect(decideThreading(false, '6.12.90', VERSION)).toEqual({ threaded: undefined, refusal: undefined })
  })

  test.each([
    ['5.15.186', VERSION],
    ['5.15.200-generic', VERSION],
    ['6.1.142', VERSION],
    ['6.6.126', VERSION],
    ['6.12.34+deb13-amd64', VERSION],
    ['6.12.73', VERSION],
    ['6.8.0-117-generic', '#117-Ubuntu SMP'],
    // Debian's release is that of its interface for modules.
    ['6.1.0-39-amd64', '#1 SMP PREEMPT_DYNAMIC Debian 6.1.150-1 (2025-09-01)'],
  ])('is off on %s, where it can leave a peer deaf, and who asked for it is told why', (release, version) => {
    expect(decideThreading(false, release, version)).toEqual({ threaded: false, refusal: undefined })
    const asked = decideThreading(true, release, version)
    expect(asked.threaded).toBe(false)
    expect(asked.refusal).toContain('CVE-2026-52945')
  })

  test.each([
    ['5.15.185', VERSION],
    ['6.1.164', VERSION],
    ['6.12.33', VERSION],
    ['6.8.0-118-generic', '#118-Ubuntu SMP'],
    ['6.1.0-39-amd64', '#1 SMP PREEMPT_DYNAMIC Debian 6.1.164-1 (2026-03-01)'],
    ['6.18.5', VERSION],
    ['what is this', ''],
  ])('is what was asked for on %s', (release, version) => {
    expect(decideThreading(true, release, version)).toEqual({ threaded: true, refusal: undefined })
  })
})
