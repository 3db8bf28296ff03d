import { expect, test } from 'vitest'
import type { NodeName } from '#src/mesh/node-record.ts'
import { Ends } from '#src/verify/ends.ts'

const NODE = 'node-1' as NodeName
const ANSWERS = `while read -r line; do case $line in *end*) exit ;; esac; echo '{"value":{"clear":[],"ciphertext":[]}}'; done`

test('a node that is in two pairs has one end, and another one only once it was left', async () => {
  const started: string[] = []
  await using ends = new Ends(async node => {
    started.push(node)
    return { argv: ['sh', '-c', ANSWERS], hint: 'it is a shell' }
  })
  const first = await ends.on(NODE)
  expect(await ends.on(NODE)).toBe(first)
  expect(await first.tally()).toEqual({ clear: [], ciphertext: [] })
  expect(started).toEqual([NODE])
  await ends.leave(NODE)
  expect(await ends.on(NODE)).not.toBe(first)
  expect(started).toEqual([NODE, NODE])
})

test('one that does not run is told with where to look', async () => {
  await using ends = new Ends(async () => ({ argv: ['/nowhere/podveil'], hint: 'it is nowhere' }))
  const end = await ends.on(NODE)
  await expect(end.tally()).rejects.toThrow(
    /podveil verify-end on node-1 ended before it answered: .*is not installed here; it is nowhere/,
  )
})
