import { request } from 'node:http'
import { json } from 'node:stream/consumers'

/**
 * Makes etcd forget all but the latest revision. A server that runs has history in its cache still: it takes a restart for an older
 * resourceVersion to get 410.
 * @param socket of etcd
 */
export async function forgetHistory(socket: string): Promise<void> {
  const { header } = await ask(socket, '/v3/kv/range', { key: Buffer.from('/').toString('base64') })
  await ask(socket, '/v3/kv/compaction', { revision: header?.revision, physical: true })
}

interface Answer {
  readonly header?: { readonly revision: string }
}

async function ask(socketPath: string, path: string, body: object): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const call = request({ socketPath, path, method: 'POST' }, response => {
    json(response).then(
      answer => (response.statusCode === 200 ? resolve(answer) : reject(new Error(String(answer)))),
      reject,
    )
  })
  call.on('error', reject)
  call.end(JSON.stringify(body))
  return (await promise) as Answer
}
