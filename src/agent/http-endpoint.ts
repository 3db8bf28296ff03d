import type { Server, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { http } from '#src/cluster/node-http.ts'
import type { IpAddress } from '#wg/ip.ts'

/** What a path answers. */
export interface Answer {
  readonly status: 200 | 403 | 404 | 503
  readonly type: string
  /** Pieces are made as they are taken, anew for each who asks: what is long is never there as a whole. */
  readonly body: string | Iterable<string>
  readonly headers?: Readonly<Record<string, string>>
}

export interface TextAnswer extends Answer {
  readonly body: string
}

const PLAIN_TEXT = 'text/plain; charset=utf-8'

export const plainText = (status: Answer['status'], body: string): TextAnswer => ({
  status,
  type: PLAIN_TEXT,
  body: `${body}\n`,
})

/** The same of lines that have their ends. */
export const plainPieces = (body: Iterable<string>): Answer => ({ status: 200, type: PLAIN_TEXT, body })

const LOOPBACK_NAME = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/

export class PortInUseError extends Error {
  override readonly name = 'PortInUseError'
  readonly code = 'ERR_PORT_IN_USE'
  constructor(what: string, port: number, cause: unknown) {
    super(`${what} port ${port} is in use: end what listens there, or choose another with --${what}-port`, { cause })
  }
}

export class ForeignAddressError extends Error {
  override readonly name = 'ForeignAddressError'
  readonly code = 'ERR_FOREIGN_ADDRESS'
  constructor(what: string, address: string, cause: unknown) {
    super(`${address} is no address of this node: give --${what}-address one that it has, or leave it out for all`, {
      cause,
    })
  }
}

/**
 * Serves GET requests on a port of every address of this network namespace, of one of them, or of the loopback alone: then
 * also only to who asks for it by that name, so that no page of somebody else's reads it through a name that leads here.
 * @throws PortInUseError, ForeignAddressError; any other failure to listen as it is
 */
export async function serve(
  what: 'health' | 'metrics' | 'web',
  port: number,
  answers: Readonly<Record<string, () => Answer | Promise<Answer>>>,
  where: 'everywhere' | 'loopback' | IpAddress = 'everywhere',
): Promise<Server> {
  const underWay = new Map<string, Promise<Answer>>()
  const server = http.createServer((request, response) => {
    const path = (request.url ?? '/').split('?')[0] ?? '/'
    const found = Object.hasOwn(answers, path) ? answers[path] : undefined
    const missing = plainText(404, `no such page; there is ${Object.keys(answers).join(', ')}`)
    const foreign = where === 'loopback' && !LOOPBACK_NAME.test(request.headers.host ?? '')
    const answer = foreign
      ? plainText(403, 'ask for it as localhost')
      : found && request.method === 'GET'
        ? shared(underWay, path, () => answerOf(found))
        : missing
    // Who asked may be gone before the last piece.
    void Promise.resolve(answer)
      .then(made => give(response, made))
      .catch(() => response.destroy())
  })
  server.requestTimeout = 10_000
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') reject(new PortInUseError(what, port, error))
      else if (error.code === 'EADDRNOTAVAIL') reject(new ForeignAddressError(what, where, error))
      else reject(error)
    })
    if (where === 'everywhere') server.listen(port, resolve)
    else server.listen(port, where === 'loopback' ? '127.0.0.1' : where, resolve)
  })
  server.unref()
  return server
}

/** Ends it at once: who says half a request, or leaves an answer unread, must not keep the process that is to end. */
export function stopServing(server: Server): void {
  server.close()
  server.closeAllConnections()
}

/** Who asks while an answer is being made gets that one: however many ask, /metrics runs one program at a time. */
function shared(underWay: Map<string, Promise<Answer>>, path: string, make: () => Promise<Answer>): Promise<Answer> {
  const answer = underWay.get(path) ?? make().finally(() => underWay.delete(path))
  underWay.set(path, answer)
  return answer
}

async function give(response: ServerResponse, { status, type, body, headers }: Answer): Promise<void> {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', ...headers })
  if (typeof body === 'string') response.end(body)
  else await pipeline(body, response)
}

/** Whatever goes wrong while it is made is an answer as well. */
async function answerOf(make: () => Answer | Promise<Answer>): Promise<Answer> {
  try {
    return await make()
  } catch (error) {
    return plainText(503, error instanceof Error ? error.message : String(error))
  }
}
