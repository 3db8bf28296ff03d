import { expect, test } from 'vitest'
import { type PassOutcome, Report } from '#src/agent/report.ts'
import { ApiClient } from '#src/cluster/api-client.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { FakeApi } from '../cluster/support/fake-api.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'

test('a pass that cannot be told of is a line in the log, and no trouble of the pass', async () => {
  await using api = await FakeApi.start()
  const client = new ApiClient({ credentials: api.credentials })
  const log = recordingLogger()
  const report = new Report({ client, nodeName: 'a' as NodeName, namespace: 'b', stateDir: '/nowhere', log })
  const feed = {
    get synced(): boolean {
      throw new TypeError('a bug')
    },
  }
  const outcome = { feed, health: { ready: true } } as unknown as PassOutcome
  report.after(outcome)
  report.after(outcome)
  await report.stop()
  client.close()
  expect(log.lines).toEqual(['error cannot tell what the mesh is like now: a bug'])
})
