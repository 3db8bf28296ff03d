import { expect, test } from 'vitest'
import { plain } from '#src/status/format.ts'
import { nodeStatus } from '#src/status/node-status.ts'
import { nodeView } from '#src/status/node-view.ts'
import { commandsIn } from '../../cluster/walk/document.ts'
import { CHAPTERS } from '../../cluster/walk/steps.ts'
import { ago, family4, kernel, NOW, peer, snapshot } from '../status/support/snapshots.ts'
import { read } from './support.ts'

const STEPS = CHAPTERS.flatMap(({ steps }) => steps)

test('docs/walk-through.md shows the walk as it is taken: PODVEIL_WRITE_WALK=1 vitest run --project cluster test/cluster/walk.test.ts', () => {
  expect(commandsIn(read('docs/walk-through.md'))).toEqual(STEPS.map(({ run }) => run))
})

/** The heads of the table of pairs, wherever they stand in a text. */
const headsOfPairs = (text: string): string[] => /^PEER .*/m.exec(text)?.[0].split(/ {2,}/) ?? []

test('what it shows of a node’s pairs has every column of today: else take the walk again', () => {
  const echo = { roundTripSeconds: 0.000_42, loss: 0.25 }
  const measured = snapshot({
    families: [family4({ peers: [peer(2, { echo }), peer(3, { echo, silentSince: ago(40) })] })],
  })
  const today = headsOfPairs(nodeView(nodeStatus(measured, kernel(), NOW), NOW, plain))
  expect(today).toContain('RTT')
  expect(headsOfPairs(read('docs/walk-through.md'))).toEqual(today)
})

test('the README has the commands of the walk that a new user needs, word for word', () => {
  const readme = read('README.md')
  const commands = STEPS.flatMap(({ run, readme: isThere }) => (isThere ? [run] : []))
  expect(commands.length).toBeGreaterThan(5)
  expect(commands.filter(command => !readme.includes(command))).toEqual([])
})
