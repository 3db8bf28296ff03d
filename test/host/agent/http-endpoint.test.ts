import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { plainPieces, plainText, serve, stopServing } from '#src/agent/http-endpoint.ts'
import { parseAddress } from '#wg/ip.ts'

const answers = { '/metrics': () => plainText(200, 'podveil_up 1') }

/** Which of the loopback's addresses answer. */
async function answering(where: Parameters<typeof serve>[3]): Promise<string[]> {
  const server = await serve('metrics', 0, answers, where)
  const { port } = server.address() as AddressInfo
  try {
    const found: string[] = []
    for (const host of ['127.0.0.1', '127.0.0.2']) {
      const answer = await fetch(`http://${host}:${port}/metrics`).catch(() => undefined)
      if ((await answer?.text()) === 'podveil_up 1\n') found.push(host)
    }
    return found
  } finally {
    stopServing(server)
  }
}

describe('health and metrics are served', () => {
  test('on every address, unless one is named', async () => {
    expect(await answering(undefined)).toEqual(['127.0.0.1', '127.0.0.2'])
  })

  test('on the address that is named, and on no other', async () => {
    expect(await answering(parseAddress('127.0.0.2'))).toEqual(['127.0.0.2'])
  })

  test('on no address that is not the node’s: it is told which option names it', async () => {
    await expect(serve('health', 0, answers, parseAddress('192.0.2.1'))).rejects.toMatchObject({
      code: 'ERR_FOREIGN_ADDRESS',
      message: expect.stringMatching(/^192\.0\.2\.1 is no address of this node: .*--health-address/) as string,
    })
  })

  test('by one answer to all who ask while it is being made, and by a new one after that', async () => {
    let made = 0
    const { promise: all, resolve: allHaveAsked } = Promise.withResolvers<void>()
    const answer = async () => {
      const body = String(++made)
      await all
      return plainText(200, body)
    }
    const server = await serve('metrics', 0, { '/metrics': answer })
    try {
      let asked = 0
      server.on('request', () => {
        if (++asked === 20) allHaveAsked()
      })
      const { port } = server.address() as AddressInfo
      const ask = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
      expect(await Promise.all(Array.from({ length: 20 }, ask))).toEqual(Array.from({ length: 20 }, () => '1\n'))
      expect(await ask()).toBe('2\n')
    } finally {
      stopServing(server)
    }
  })

  test('until they are ended, whoever has said half a request by then', async () => {
    const server = await serve('health', 0, answers)
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1', () => client.write('GET /livez HTTP'))
    await once(server, 'connection')
    const closed = once(server, 'close')
    stopServing(server)
    await closed
    client.destroy()
  })
})

test('what is long is made as it is taken, and no further when nobody takes it any more', async () => {
  let ended = false
  function* endless(): Generator<string> {
    try {
      for (;;) yield 'podveil_up 1\n'
    } finally {
      ended = true
    }
  }
  const pieces = { [Symbol.iterator]: endless }
  const server = await serve('metrics', 0, { '/metrics': () => plainPieces(pieces) })
  const { port } = server.address() as AddressInfo
  try {
    const { body } = await fetch(`http://127.0.0.1:${port}/metrics`)
    const reader = body?.getReader()
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toMatch(/^(podveil_up 1\n)+/)
    await reader?.cancel()
    await vi.waitFor(() => expect(ended).toBe(true))
  } finally {
    stopServing(server)
  }
})
