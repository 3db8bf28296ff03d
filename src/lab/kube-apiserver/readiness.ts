import { get } from 'node:https'
import type { ApiAccess } from '../api.ts'

const LIMIT_MS = 5_000

/** Whether the server says that it is ready for everything: /readyz, which answers in plain text. No answer is "no". */
export function isReady({ host, port, serverName, ca, token }: ApiAccess): Promise<boolean> {
  return new Promise(resolve => {
    const headers = { authorization: `Bearer ${token}` }
    const options = {
      host,
      port,
      servername: serverName,
      ca,
      path: '/readyz',
      headers,
      agent: false,
      timeout: LIMIT_MS,
    }
    const asked = get(options, response => {
      response.resume()
      response.on('error', () => resolve(false))
      response.on('end', () => resolve(response.statusCode === 200))
    })
    asked.on('timeout', () => asked.destroy())
    asked.on('error', () => resolve(false))
  })
}
