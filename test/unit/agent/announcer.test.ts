import { expect, test } from 'vitest'
import { Announcer } from '#src/agent/announcer.ts'
import { ownNode } from '#src/agent/own-node.ts'
import { annotations, SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'
import { until } from '../cluster/support/until.ts'
import { name, publicKey } from '../mesh/records.ts'

interface Metadata {
  readonly annotations?: Record<string, string | null>
  readonly labels?: Record<string, string | null>
}

/** The announcer of a Node with these annotations, which nobody has told it anything of yet. */
function announcing(notes: Record<string, string>) {
  const object = {
    metadata: {
      name: name(1),
      uid: 'u',
      resourceVersion: '1',
      annotations: notes,
      labels: {} as Record<string, string>,
    },
    spec: { podCIDRs: ['10.244.1.0/24'] },
    status: { addresses: [{ type: 'InternalIP', address: '10.200.0.1' }] },
  }
  const patches: Metadata[] = []
  const gets: string[] = []
  const client = {
    get: async (path: string) => {
      gets.push(path)
      return object
    },
    create: async () => ({}),
    mergePatch: async (path: string, patch: unknown) => {
      const { metadata } = patch as { metadata: Metadata }
      if (path.includes('/nodes/')) patches.push(metadata)
      return { metadata: { ...object.metadata, ...metadata, resourceVersion: '2' } }
    },
  }
  const announcer = new Announcer({ client, nodeName: name(1), log: recordingLogger() })
  const observe = (seen = ownNode(object)) =>
    announcer.observed({
      ownWritten: seen?.written,
      ownRecord: seen?.record,
      ownDescription: seen?.description,
      peers: { readsMeshNodes: false } as never,
    })
  return { announcer, observe, patches, gets }
}

const ENCRYPTS = { [annotations.publicKey[4]]: publicKey(1), [annotations.hello]: '1' }

test('a Node that encrypts is described as soon as that is seen, whatever becomes of a pass', async () => {
  const { announcer, observe, patches, gets } = announcing(ENCRYPTS)
  observe()
  await until('the patch', () => patches.length === 1)
  // What is seen is not asked for once more.
  expect(gets).toEqual([])
  expect(patches[0]).toEqual({
    annotations: { [annotations.addresses]: '10.200.0.1', [annotations.podCidrs]: '10.244.1.0/24' },
    labels: { [SELF_DESCRIBED]: 'true' },
  })
  await announcer.stop()
})

test.each([
  ['of which nothing is known yet', {}, false],
  ['that encrypts nothing', {}, true],
  ['on which only Felix says a key', { [annotations.publicKey[4]]: publicKey(1) }, true],
])('nothing is written of a Node %s', async (_, notes, isKnown) => {
  const { announcer, observe, patches } = announcing(notes)
  const { announcer: other, observe: observeOther, patches: otherPatches } = announcing(ENCRYPTS)
  if (isKnown) observe()
  else
    announcer.observed({
      ownWritten: undefined,
      ownRecord: undefined,
      ownDescription: undefined,
      peers: { readsMeshNodes: false } as never,
    })
  // Control: of another one it is, in as much time.
  observeOther()
  await until('the patch of the other', () => otherPatches.length === 1)
  expect(patches).toEqual([])
  await announcer.stop()
  await other.stop()
})
