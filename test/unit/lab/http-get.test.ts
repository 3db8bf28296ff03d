import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it } from 'vitest'
import { httpGet, parseHttpAnswer } from '#src/lab/http-get.ts'
import { run } from '#src/lab/run.ts'

describe('a GET without a program of its own', () => {
  it('gives status and body as a server of Node.js sends them', async () => {
    const server = createServer((request, response) => {
      response.writeHead(503).end(`${request.method} ${request.url}\r\n\r\nnot ready: ü\n`)
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    try {
      // An address of a server that listens on a port is an object.
      const { port } = server.address() as AddressInfo
      const { stdout } = await run(httpGet(port, '/readyz?verbose'))
      expect(parseHttpAnswer(stdout)).toEqual({ status: 503, body: 'GET /readyz?verbose\r\n\r\nnot ready: ü\n' })
    } finally {
      server.close()
    }
  })

  it('says what it got instead of an answer', () => {
    expect(() => parseHttpAnswer('SSH-2.0-OpenSSH\r\n')).toThrow('not an answer of a web server: "SSH-2.0-OpenSSH')
  })
})
