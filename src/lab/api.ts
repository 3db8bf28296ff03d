import { request } from 'node:https'
import { LabError } from './errors.ts'

export type JsonObject = { readonly [key: string]: unknown }

export interface ApiAccess {
  readonly host: string
  readonly port: number
  /** What the server's certificate must be good for. */
  readonly serverName: string
  /** PEM. */
  readonly ca: string
  readonly token: string
}

export interface ApiAnswer {
  readonly status: number
  readonly body: JsonObject
}

const REQUEST_LIMIT_MS = 10_000

/** The lab's own way to its API server, as an operator with all rights: one request, one connection. */
export class LabApi {
  readonly #access: ApiAccess
  constructor(access: ApiAccess) {
    this.#access = access
  }

  /** Whatever the server answers. @throws LabError when there is no answer */
  request(method: string, path: string, body?: JsonObject, contentType = 'application/json'): Promise<ApiAnswer> {
    const { host, port, serverName, ca, token } = this.#access
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    return new Promise((resolve, reject) => {
      const fail = (cause: Error) =>
        reject(
          new LabError('ERR_LAB_API', `${method} ${path}: no answer from the API server: ${cause.message}`, { cause }),
        )
      const outgoing = request({
        host,
        port,
        servername: serverName,
        ca,
        method,
        path,
        agent: false,
        timeout: REQUEST_LIMIT_MS,
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'application/json',
          ...(bytes && { 'content-type': contentType, 'content-length': bytes.length }),
        },
      })
      outgoing.on('timeout', () => outgoing.destroy(new Error(`silent for ${REQUEST_LIMIT_MS / 1000} s`)))
      outgoing.on('error', fail)
      outgoing.on('response', response => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', fail)
        response.on('end', () => {
          try {
            resolve({
              status: response.statusCode ?? 0,
              body: JSON.parse(Buffer.concat(chunks).toString()) as JsonObject,
            })
          } catch (error) {
            fail(error as Error)
          }
        })
      })
      outgoing.end(bytes)
    })
  }

  /** @throws LabError with the server's message unless the answer is 2xx */
  async must(method: string, path: string, body?: JsonObject, contentType?: string): Promise<JsonObject> {
    const answer = await this.request(method, path, body, contentType)
    if (answer.status >= 200 && answer.status < 300) return answer.body
    throw new LabError('ERR_LAB_API', `${method} ${path}: ${String(answer.body.message)} (${answer.status})`)
  }

  get(path: string): Promise<JsonObject> {
    return this.must('GET', path)
  }

  create(path: string, object: JsonObject): Promise<JsonObject> {
    return this.must('POST', path, object)
  }

  /** JSON merge patch (RFC 7386): null removes a member. */
  mergePatch(path: string, patch: JsonObject): Promise<JsonObject> {
    return this.must('PATCH', path, patch, 'application/merge-patch+json')
  }

  delete(path: string): Promise<JsonObject> {
    return this.must('DELETE', path)
  }
}
