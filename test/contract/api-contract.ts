import { afterAll, afterEach, beforeAll, describe } from 'vitest'
import { ApiClient, type Connection } from './api-client.ts'
import { discoveryContract } from './discovery.ts'
import { type ContractContext, installDefinitions, Leftovers } from './fixtures.ts'
import { listContract } from './lists.ts'
import { objectContract } from './objects.ts'
import { patchContract } from './patches.ts'
import { schemaContract } from './schema.ts'
import { watchContract } from './watches.ts'

/**
 * What the mesh relies on of a Kubernetes API server, told once for every server that it may run against: the lab's own
 * and kube-apiserver. `connect` reaches a server that runs; what it returns is disposed of at the end.
 */
export function describeApiContract(name: string, connect: () => Promise<Connection & AsyncDisposable>): void {
  describe(`the Kubernetes API of ${name}`, () => {
    let connection: (Connection & AsyncDisposable) | undefined
    let client: ApiClient | undefined
    let leftovers: Leftovers | undefined

    beforeAll(async () => {
      connection = await connect()
      client = new ApiClient(connection)
      leftovers = new Leftovers(client)
      await installDefinitions(client)
    })
    afterEach(() => leftovers?.remove())
    afterAll(async () => {
      client?.[Symbol.dispose]()
      await connection?.[Symbol.asyncDispose]()
    })

    const context = (): ContractContext => {
      if (client === undefined || leftovers === undefined) throw new Error('the contract has no connection yet')
      return { client, leftovers }
    }
    discoveryContract(context)
    objectContract(context)
    patchContract(context)
    listContract(context)
    watchContract(context)
    schemaContract(context)
  })
}
