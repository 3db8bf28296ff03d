import { test } from 'vitest'
import type { Families } from '#src/lab/plan.ts'
import { describeLab } from '../harness/requirements.ts'
import { caseLimit, meshNeeds, profile } from './support/profile.ts'
import { expectNoLossInARow } from './support/switching.ts'
import { withMesh } from './support/with-mesh.ts'

// It has the machine for itself (vitest.config.ts): ten nodes keep two processors busy, and whoever shares them waits.
describeLab('turning encryption on and off in a mesh of ten nodes', meshNeeds, () => {
  test.each<{ families: Families; share: number }>([
    { families: '4', share: 1 },
    ...(profile.long
      ? ([
          { families: '6', share: 1 },
          { families: 'dual', share: 0.5 },
        ] as const)
      : []),
  ])(
    `loses nothing, at ${profile.rateOfTen} a second for each pair ($families)`,
    async ({ families, share }) => {
      const times = profile.long ? profile.switches : 1
      await withMesh({ nodes: 10, families }, lab => expectNoLossInARow(lab, times, profile.rateOfTen * share))
    },
    caseLimit(120),
  )
})
