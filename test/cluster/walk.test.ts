import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { withLab } from '../lab/harness/with-lab.ts'
import { traces } from '../lab/mesh/support/kernel-state.ts'
import { Kubelets } from './harness/kubelets.ts'
import { noRealApi } from './harness/real-api.ts'
import { STREAMING_FLAGS, StreamingKubelets } from './harness/streaming-kubelets.ts'
import { walkDocument } from './walk/document.ts'
import { CHAPTERS } from './walk/steps.ts'
import { isDone, type Took, Walker } from './walk/walker.ts'

const DOCUMENT = join(fileURLToPath(new URL('../..', import.meta.url)), 'docs/walk-through.md')

describe.skipIf(noRealApi)(`somebody who has read the README${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  afterEach(() => vi.unstubAllEnvs())

  test('installs it, turns it on, finds a broken pair, mends it and uninstalls it, and nothing is left', () => {
    vi.stubEnv('PODVEIL_LAB_APISERVER_FLAGS', STREAMING_FLAGS)
    return withLab({ nodes: 3, families: '4', api: 'real', bare: true, agents: false }, async lab => {
      await using kubelets = new Kubelets(lab)
      await using _streams = await StreamingKubelets.start(lab)
      using walker = new Walker(lab)
      const taken: Took[][] = []
      const lost: Record<string, number> = {}
      for (const { title, steps } of CHAPTERS) {
        await lab.traffic.start({ rate: 20, streams: false })
        const took: Took[] = []
        taken.push(took)
        for (const step of steps) {
          const one = await walker.take(step)
          took.push(one)
          expect(
            isDone(one),
            `$ ${step.run}\n${one.output}\n# exit status ${one.status}; ${String(kubelets.fault ?? '')}`,
          ).toBe(true)
        }
        lost[title] = (await lab.traffic.stop()).lost
      }
      // The control: what the firewall took was seen to be missing.
      expect(lost['Find it']).toBeGreaterThan(0)
      for (const title of ['Install', 'Switch on', 'Verify', 'Uninstall']) expect(lost[title], title).toBe(0)
      for (const node of lab.nodes) expect(await traces(node), node.name).toEqual([])
      if (process.env.PODVEIL_WRITE_WALK === '1') writeFileSync(DOCUMENT, walkDocument(taken))
    })
  }, 600_000)
})
