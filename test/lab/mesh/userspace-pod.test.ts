import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { describeLab } from '../harness/requirements.ts'
import { expectNoLoss, measureLoss } from './support/loss.ts'
import { limit, meshNeeds, profile } from './support/profile.ts'
import { expectTunnelled } from './support/underlay.ts'
import { userspaceProcesses } from './support/userspace-process.ts'
import { withEncryptedMesh } from './support/with-mesh.ts'

/** The processes above it, by name, up to the first of all. */
function ancestors(pid: number): string[] {
  const names: string[] = []
  for (let at = pid; at > 1; ) {
    const stat = readFileSync(`/proc/${at}/stat`, 'utf8')
    names.push(stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')))
    at = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  }
  return names.slice(1)
}

describeLab('wireguard-go in a Pod of its own, as overlays/userspace has it', meshNeeds, () => {
  test.skipIf(profile.dataplane === 'kernel')(
    'is asked for by an agent that could not start it, outlives that agent, and is taken over: nothing is lost',
    async () => {
      await withEncryptedMesh({ nodes: 2, manifest: 'overlays/userspace' }, async lab => {
        const before = await Promise.all(lab.nodes.map(userspaceProcesses))
        for (const pids of before) expect(pids).toHaveLength(2)
        for (const pid of before.flat()) expect(ancestors(pid)).not.toContain('node')
        const report = await measureLoss(lab, async () => {
          await Promise.all(lab.nodes.map(({ agent }) => agent.kill('SIGKILL')))
          await expectTunnelled(lab)
          await Promise.all(lab.nodes.map(({ agent }) => agent.start()))
          await Promise.all(lab.nodes.map(({ agent }) => agent.ready(limit(30_000))))
          await expectTunnelled(lab)
        })
        expectNoLoss(report)
        expect(await Promise.all(lab.nodes.map(userspaceProcesses))).toEqual(before)
      })
    },
  )
})
