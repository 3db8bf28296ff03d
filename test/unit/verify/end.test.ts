import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { runEnd } from '#src/verify/end.ts'

const TALLY = `${JSON.stringify({ op: 'tally' })}\n`
const HOUR = 3_600_000

/** An end whose input nobody closes, as that of a container which kubectl has left. */
function left(patience: number): { input: PassThrough; said: Promise<string>; ended: Promise<void> } {
  const input = new PassThrough()
  const output = new PassThrough()
  const ended = runEnd(input, output, patience).finally(() => output.end())
  return { input, said: text(output), ended }
}

describe('the end of verify on a node', () => {
  test('ends when it is told to, with what it was asked before answered', async () => {
    const { input, said, ended } = left(HOUR)
    input.write(`${TALLY}${JSON.stringify({ op: 'end' })}\n${TALLY}`)
    await ended
    expect(await said).toBe('{"value":{"clear":[],"ciphertext":[]}}\n')
  })

  test('ends when nobody asks any more', async () => {
    const { input, said, ended } = left(50)
    input.write(TALLY)
    await ended
    expect(await said).toContain('"value"')
    expect(input.destroyed).toBe(true)
  })

  test('goes on while neither is so', async () => {
    const { input, ended } = left(HOUR)
    input.write(TALLY)
    const first = await Promise.race([ended, new Promise(resolve => setImmediate(() => resolve('runs')))])
    expect(first).toBe('runs')
    input.end()
    await ended
  })

  test('says what it is for where somebody types into it', async () => {
    const { input, said, ended } = left(HOUR)
    input.end('hello\n')
    await ended
    expect(await said).toMatch(/not JSON: this is for podveil verify/)
  })
})
