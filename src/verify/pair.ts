import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import type { Place } from '#src/status/explain.ts'
import { familyOf } from '#wg/ip.ts'
import { ciphertextLength, type Mark, packetLengthOf } from './marked.ts'
import type { Tally } from './protocol.ts'
import type { RemoteEnd } from './remote-end.ts'
import { type DirectionResult, type Evidence, judgeDirection } from './verdict.ts'

/** One side of a pair. */
export interface Side {
  readonly node: NodeRecord
  /** Addresses of this side that are sent from and to, of each family at most one. */
  readonly places: readonly Place[]
  readonly end: RemoteEnd
}

/** Milliseconds that the last frames may take to be seen. */
const SETTLE = 2_000
const LOOK_AGAIN = 50

/** Sends marked datagrams both ways in every family that both sides have, and judges what both ends saw. @param count of each */
export async function verifyPair(a: Side, b: Side, count: number): Promise<DirectionResult[]> {
  const ways = [...waysBetween(a, b), ...waysBetween(b, a)]
  await Promise.all([listen(a, b, ways), listen(b, a, ways)])
  const results: DirectionResult[] = []
  for (const way of ways) results.push(await verifyWay(way, count))
  return results
}

interface Way {
  readonly from: Place
  readonly to: Place
  readonly source: Side
  readonly target: Side
  readonly mark: Mark
}

function waysBetween(source: Side, target: Side): Way[] {
  return source.places.flatMap(from => {
    const family = familyOf(from.address)
    const to = target.places.find(({ address }) => familyOf(address) === family)
    const mark: Mark = { token: randomBytes(16).toString('hex'), family, packetLength: packetLengthOf(Math.random()) }
    return to ? [{ from, to, source, target, mark }] : []
  })
}

async function listen(side: Side, other: Side, ways: readonly Way[]): Promise<void> {
  await side.end.listen({
    towards: other.node.addresses,
    destinations: ways.filter(({ source }) => source === side).map(({ to }) => to.address),
    tokens: ways.map(({ mark }) => mark.token),
    lengths: ways.map(({ mark }) => ciphertextLength(mark)),
  })
}

async function verifyWay({ from, to, source, target, mark }: Way, count: number): Promise<DirectionResult> {
  const before = await tallies(source, target)
  const sent = await source.end.send({ from: from.address, to: to.address, count, ...mark })
  const until = performance.now() + SETTLE
  for (;;) {
    const after = await tallies(source, target)
    const evidence: Evidence = {
      ...{ from, to, mark, sent },
      fromAddresses: source.node.addresses,
      toAddresses: target.node.addresses,
      leaving: since(before.leaving, after.leaving),
      arriving: since(before.arriving, after.arriving),
    }
    const result = judgeDirection(evidence)
    if (result.verdict !== 'incomplete' || performance.now() > until) return result
    await delay(LOOK_AGAIN)
  }
}

async function tallies(source: Side, target: Side): Promise<{ leaving: Tally; arriving: Tally }> {
  const [leaving, arriving] = await Promise.all([source.end.tally(), target.end.tally()])
  return { leaving, arriving }
}

/** What was there before is somebody else's, of the same size by chance. */
const since = (before: Tally, after: Tally): Tally => ({
  clear: after.clear,
  ciphertext: after.ciphertext.map(seen => {
    const { from, to, length } = seen
    const old = before.ciphertext.find(one => one.from === from && one.to === to && one.length === length)
    return { ...seen, frames: seen.frames - (old?.frames ?? 0) }
  }),
})
