import type { Connection } from '../../contract/api-client.ts'
import { describeApiContract } from '../../contract/api-contract.ts'
import { startApiServer, TOKEN } from './fixtures.ts'

describeApiContract('the lab', async (): Promise<Connection & AsyncDisposable> => {
  const server = await startApiServer({ definitions: [] })
  return {
    url: server.url,
    ca: server.ca,
    token: TOKEN,
    compact: () => server.compact(),
    [Symbol.asyncDispose]: () => server.close(),
  }
})
