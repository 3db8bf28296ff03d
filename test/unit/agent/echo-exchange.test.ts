import { describe, expect, test } from 'vitest'
import { EchoExchange, type EchoPartner } from '#src/agent/echo-exchange.ts'
import type { Echo } from '#src/hello/echo-message.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { parseAddress } from '#wg/ip.ts'
import { publicKey } from '../mesh/records.ts'

const TWO = 'node-2' as NodeName
const THREE = 'node-3' as NodeName

const SECOND = 1_000
const ADDRESS = parseAddress('10.244.2.1')
const partner = (fields: Partial<EchoPartner> = {}): EchoPartner => ({
  address: ADDRESS,
  key: publicKey(2),
  session: 7n,
  bytes: undefined,
  ...fields,
})

/** An exchange and what it sends; `answer` is what becomes of an echo. */
function exchange(partners: ReadonlyMap<NodeName, EchoPartner> = new Map([[TWO, partner()]])) {
  const sent: { to: string; echo: Echo }[] = []
  const echoes = new EchoExchange((to, echo) => sent.push({ to, echo }) > 0)
  for (const [node, one] of partners) echoes.keep(node, one, 0)
  /** Asks twice a second until `end`; every echo is answered at once where `answers` says so. */
  const run = (from: number, end: number, answers: (number: number) => boolean) => {
    for (let now = from; now < end; now += 500) {
      const before = sent.length
      echoes.ask(now)
      for (const [i, { echo }] of sent.slice(before).entries())
        if (answers(before + i)) echoes.receive(TWO, ADDRESS, { kind: 'answer', token: echo.token }, now + 1)
    }
  }
  return { echoes, sent, run }
}

describe('echoes', () => {
  test('tell the loss and the round trip of a pair', () => {
    const { echoes, run } = exchange()
    run(0, 50 * SECOND, number => number % 2 === 0)
    expect(echoes.figures(TWO, 60 * SECOND)).toEqual({ roundTrip: 0.001, loss: expect.closeTo(0.5, 1) })
  })

  test('are every two seconds of a pair in use, and none of one that is idle', () => {
    const { run, sent } = exchange()
    run(0, 30 * SECOND, () => true)
    const busy = sent.length
    expect(busy).toBeGreaterThanOrEqual(14)
    expect(busy).toBeLessThanOrEqual(15)
    run(62 * SECOND, 120 * SECOND, () => true)
    expect(sent.length).toBe(busy)
  })

  test('become rare where none was ever answered', () => {
    const { run, sent } = exchange()
    run(0, 59 * SECOND, () => false)
    expect(sent.length).toBeLessThanOrEqual(12)
  })

  test('are so many at once and no more, and each pair has its turn', () => {
    const many = new Map(
      Array.from({ length: 200 }, (_, i) => [
        `node-${i}` as NodeName,
        partner({ address: parseAddress(`10.1.0.${i + 1}`) }),
      ]),
    )
    const { echoes, sent } = exchange(many)
    for (let now = 2 * SECOND; now < 10 * SECOND; now += 500) {
      const before = sent.length
      echoes.ask(now)
      expect(sent.length - before).toBeLessThanOrEqual(25)
    }
    expect(new Set(sent.map(({ to }) => to)).size).toBe(200)
  })

  test.each([
    ['key', { key: publicKey(3) }],
    ['address', { address: parseAddress('10.244.2.9') }],
    ['agent', { session: 8n }],
  ])('begin anew with another %s of the peer: what was measured is of another', (_, fields) => {
    const { echoes, run } = exchange()
    run(0, 50 * SECOND, () => true)
    expect(echoes.figures(TWO, 60 * SECOND)).toBeDefined()
    echoes.keep(TWO, partner(fields), 50 * SECOND)
    expect(echoes.figures(TWO, 60 * SECOND)).toBeUndefined()
  })

  test('go on through passes that change nothing', () => {
    const { echoes, run } = exchange()
    run(0, 50 * SECOND, () => true)
    echoes.keep(TWO, partner({ bytes: 5n }), 50 * SECOND)
    expect(echoes.figures(TWO, 60 * SECOND)).toBeDefined()
  })
})

describe('what somebody else sends', () => {
  test('is no answer to what another node was asked', () => {
    const other = parseAddress('10.244.3.1')
    const { echoes, sent } = exchange(
      new Map([
        [TWO, partner()],
        [THREE, partner({ address: other, key: publicKey(3) })],
      ]),
    )
    for (let now = 0; now < 50 * SECOND; now += 500) {
      const before = sent.length
      echoes.ask(now)
      for (const { echo } of sent.slice(before))
        echoes.receive(THREE, other, { kind: 'answer', token: echo.token }, now + 1)
    }
    expect(echoes.figures(TWO, 60 * SECOND)).toBeUndefined()
    expect(echoes.figures(THREE, 60 * SECOND)).toMatchObject({ loss: 0 })
  })

  test('is answered with its own token, though the pair is not measured', () => {
    const { echoes, sent } = exchange(new Map())
    echoes.receive(TWO, ADDRESS, { kind: 'ask', token: 42n }, 0)
    expect(sent).toEqual([{ to: ADDRESS, echo: { kind: 'answer', token: 42n } }])
  })

  test('is not answered without end', () => {
    const { echoes, sent } = exchange(new Map())
    for (let i = 0; i < 1_000; i++) echoes.receive(TWO, ADDRESS, { kind: 'ask', token: BigInt(i) }, i)
    expect(sent.length).toBeLessThanOrEqual(26)
    echoes.receive(TWO, ADDRESS, { kind: 'ask', token: 1n }, 60 * SECOND)
    expect(sent.at(-1)?.echo.token).toBe(1n)
  })
})
