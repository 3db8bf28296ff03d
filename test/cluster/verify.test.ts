import { afterEach, describe, expect, test, vi } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import type { RunResult } from '#src/lab/run.ts'
import { waitUntil } from '#src/lab/wait.ts'
import type { Verification } from '#src/verify/verdict.ts'
import { anywhere, encrypt, nodeOf } from '../lab/cli/podveil.ts'
import { withLab } from '../lab/harness/with-lab.ts'
import { noRealApi } from './harness/real-api.ts'
import { STREAMING_FLAGS, StreamingKubelets } from './harness/streaming-kubelets.ts'

/** `node-1 node-2 4 encrypted`, of each direction. */
function verdicts({ stdout, stderr }: RunResult): string[] {
  if (stdout === '') throw new Error(stderr)
  const { directions } = JSON.parse(stdout) as Verification
  return directions.map(({ from, to, family, verdict }) => `${from.node} ${to.node} ${family} ${verdict}`)
}

const verify = (lab: Lab): Promise<RunResult> => anywhere(lab, 'verify', 'default/pod-1', 'node-2', '--json')

describe.skipIf(noRealApi)(`podveil verify with a kubeconfig alone${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  afterEach(() => vi.unstubAllEnvs())

  test('sees, by way of API server and kubelets, ciphertext alone; then the one direction that leaks; and leaves nothing running', async () => {
    vi.stubEnv('PODVEIL_LAB_APISERVER_FLAGS', STREAMING_FLAGS)
    await withLab({ nodes: 2, families: '4', api: 'real' }, async lab => {
      await using kubelets = await StreamingKubelets.start(lab)
      await encrypt(lab)
      const on = await verify(lab)
      expect(verdicts(on)).toEqual(['node-1 node-2 4 encrypted', 'node-2 node-1 4 encrypted'])
      expect(on.status).toBe(0)
      // What the containers were told to do has ended, though nothing ends their input.
      await waitUntil(() => kubelets.left === 0, 30_000, 'the ends of verify to end')

      const one = nodeOf(lab, 1)
      await one.agent.kill('SIGTERM')
      await one.exec(['ip', 'rule', 'del', 'priority', '99'])
      const leaking = await verify(lab)
      expect(verdicts(leaking)).toEqual(['node-1 node-2 4 in-clear', 'node-2 node-1 4 encrypted'])
      expect(leaking.stdout).toContain('PODVEIL VERIFY')
      expect(leaking.status).toBe(1)
      await waitUntil(() => kubelets.left === 0, 30_000, 'the ends of verify to end')
    })
  }, 300_000)
})
