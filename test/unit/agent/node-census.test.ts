import { expect, test } from 'vitest'
import { NodeCensus } from '#src/agent/node-census.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { ManualClock } from '../cluster/support/clocks.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'
import { until } from '../cluster/support/until.ts'

/** A census of who knows of two Nodes, over a server that has these. */
function census(names: readonly string[]) {
  const asked: string[] = []
  const found: ReadonlySet<NodeName>[] = []
  const clock = new ManualClock()
  const objects = names.map(name => ({ metadata: { name } }))
  const counting = new NodeCensus({
    client: {
      get: async () => {
        asked.push('one')
        const remainingItemCount = names.length > 1 ? { remainingItemCount: names.length - 1 } : {}
        return { metadata: remainingItemCount, items: objects.slice(0, 1) }
      },
      list: async function* () {
        asked.push('all')
        yield { items: objects, resourceVersion: '1' }
      },
    },
    logger: recordingLogger(),
    known: () => 2,
    counted: all => found.push(all),
    clock,
    random: () => 0.5,
  })
  counting.start()
  return { asked, found, clock, counting }
}

test('as many Nodes as are known of are counted by asking for one, every few minutes', async () => {
  const { asked, found, clock, counting } = census(['a', 'b'])
  clock.advance(299_000)
  expect(asked).toEqual([])
  for (const times of [1, 2]) {
    clock.advance(600_000)
    await until('the count', () => asked.length === times)
    await until('the next one to be due', () => clock.pending > 0)
  }
  expect(asked).toEqual(['one', 'one'])
  expect(found).toEqual([])
  counting.stop()
})

test.each([[['a', 'b', 'c']], [['a']]])('when they are others, all names are asked for: %j', async names => {
  const { asked, found, clock, counting } = census(names)
  clock.advance(600_000)
  await until('the names', () => found.length === 1)
  expect(asked).toEqual(['one', 'all'])
  expect([...(found[0] ?? [])]).toEqual(names)
  counting.stop()
})

test('nothing is counted after the end', () => {
  const { asked, clock, counting } = census(['a'])
  counting.stop()
  clock.advance(600_000)
  expect(asked).toEqual([])
})
