import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { KeyRotation } from '#src/agent/renewal.ts'
import { type PassOutcome, Report } from '#src/agent/report.ts'
import { ApiClient } from '#src/cluster/api-client.ts'
import { DEFAULTS } from '#src/cluster/felix-parameters.ts'
import { FakeApi } from '../cluster/support/fake-api.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'
import { until } from '../cluster/support/until.ts'
import { name, nodeRecord, publicKey } from '../mesh/records.ts'

async function setup() {
  const api = await FakeApi.start()
  api.lasting = (_, response) => {
    response.end('{}')
    return true
  }
  const client = new ApiClient({ credentials: api.credentials })
  const log = recordingLogger()
  const stateDir = await mkdtemp(join(tmpdir(), 'podveil-report-'))
  const report = new Report({ client, nodeName: name(1), namespace: 'podveil', stateDir, log })
  onTestFinished(async () => {
    await report.stop()
    client.close()
    await api.close()
    await rm(stateDir, { recursive: true })
  })
  return { api, log, report }
}

/** After a pass on node 1 of a mesh of so many, in which nothing is encrypted yet. */
function outcomeOf(nodes: number, rotation: KeyRotation): PassOutcome {
  const records = Array.from({ length: nodes }, (_, index) => ({ ...nodeRecord(1), name: name(index + 1) }))
  const feed = {
    ...{ synced: true, own: records[0], nodes: new Map(records.map(record => [record.name, record])), faults: [] },
    ...{ routes: { source: 'PodCIDR' }, peers: { source: 'Nodes' }, settings: DEFAULTS },
  }
  return {
    ...{ feed, dataplane: undefined, enabled: { 4: true, 6: false }, refused: [] },
    ...{ guard: { mode: 'off', refusals: [] }, rotations: { 4: rotation, 6: undefined }, health: { ready: true } },
  } as unknown as PassOutcome
}

test('a pass that cannot be told of is a line in the log, and no trouble of the pass', async () => {
  const { report, log } = await setup()
  const feed = {
    get synced(): boolean {
      throw new TypeError('a bug')
    },
  }
  const outcome = { feed, health: { ready: true } } as unknown as PassOutcome
  report.after(outcome)
  report.after(outcome)
  await report.stop()
  expect(log.lines).toEqual(['error cannot tell what the mesh is like now: a bug'])
})

test('what cannot be told after each pass is told once, until it is something else', async () => {
  const { report, log } = await setup()
  const outcome = outcomeOf(3, { key: publicKey(1), replacing: false })
  let fault = 'a bug'
  const feed: PassOutcome['feed'] = Object.defineProperty(Object.assign({}, outcome.feed), 'faults', {
    get: () => {
      throw new TypeError(fault)
    },
  })
  for (fault of ['a bug', 'a bug', 'another', 'another']) {
    const { tally } = report
    report.after({ ...outcome, feed })
    await until('looked at', () => report.tally !== tally)
  }
  expect(log.lines.filter(line => line.startsWith('error'))).toEqual([
    'error cannot tell what the mesh is like now: a bug',
    'error cannot tell what the mesh is like now: another',
  ])
})

test('a rotation is told in a large mesh as well, where it is over before its peers are looked at again', async () => {
  const { report, api } = await setup()
  const told = () => api.seen.flatMap(({ body }) => (body as { reason?: string } | undefined)?.reason ?? [])
  report.after(outcomeOf(5_000, { key: publicKey(1), replacing: false }))
  await until('looked at', () => report.tally?.peers === 4_999)
  for (const rotation of [
    { key: publicKey(1), replacing: true },
    { key: publicKey(2), replacing: false },
  ])
    report.after(outcomeOf(5_000, rotation))
  await until('told', () => told().includes('KeyRotated'))
  expect(told()).toContain('KeyRotationStarted')
})
