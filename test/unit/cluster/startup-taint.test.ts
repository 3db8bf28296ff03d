import { describe, expect, test } from 'vitest'
import { STARTUP_TAINT, StartupTaint, withoutStartupTaint } from '#src/cluster/startup-taint.ts'
import { recordingLogger } from './support/recording-logger.ts'
import { until } from './support/until.ts'

const OURS = { key: STARTUP_TAINT, effect: 'NoSchedule' }
const OTHER = { key: 'example.com/dedicated', effect: 'NoExecute' }

describe('what is left without the start-up taint', () => {
  test.each([
    ['the others', { spec: { taints: [OTHER, OURS] } }, [OTHER]],
    ['nothing', { spec: { taints: [OURS] } }, []],
    ['of a Node without it: it is left alone', { spec: { taints: [OTHER] } }, undefined],
    ['of a Node without taints: it is left alone', { spec: {} }, undefined],
    ['of what is no Node: it is left alone', { spec: { taints: 'all' } }, undefined],
  ])('is %s', (_, node, expected) => {
    expect(withoutStartupTaint(node)).toEqual(expected)
  })
})

describe('taking it off', () => {
  const removing = (node: unknown, patches: unknown[]) =>
    new StartupTaint({
      nodeName: 'node-1',
      logger: recordingLogger(),
      client: {
        get: async () => node,
        mergePatch: async (_path: string, patch: unknown) => {
          patches.push(patch)
          return {}
        },
      },
    })

  test('holds the API server to the version that was read, so that no other taint is lost', async () => {
    const patches: unknown[] = []
    const taint = removing({ metadata: { resourceVersion: '7' }, spec: { taints: [OTHER, OURS] } }, patches)
    taint.remove()
    await until('a patch', () => patches.length > 0)
    expect(patches).toEqual([{ metadata: { resourceVersion: '7' }, spec: { taints: [OTHER] } }])
    await taint.stop()
  })

  test('leaves no empty list behind', async () => {
    const patches: unknown[] = []
    const taint = removing({ metadata: { resourceVersion: '7' }, spec: { taints: [OURS] } }, patches)
    taint.remove()
    await until('a patch', () => patches.length > 0)
    expect(patches).toEqual([{ metadata: { resourceVersion: '7' }, spec: { taints: null } }])
    await taint.stop()
  })
})
