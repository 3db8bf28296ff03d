import type { ApiClient } from '#src/cluster/api-client.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import type { Family, IpAddress } from '#wg/ip.ts'
import type { Place } from '../explain.ts'
import { openApi, readNodes } from './cluster.ts'
import { placeAmong, resolveEnd } from './ends.ts'
import { type PodOwners, readPodOwners } from './pod-owners.ts'

/** What names and addresses mean by the API, of which no more is read than is asked for. */
export class MeshEnds implements Disposable {
  readonly #client: ApiClient
  /** All Nodes, as the API has them. */
  readonly objects: readonly unknown[]
  readonly #nodes: readonly NodeRecord[]
  #owners: Promise<PodOwners> | undefined

  /** @throws CredentialsError, ApiError and its like */
  static async open(kubeconfig: string | undefined): Promise<MeshEnds> {
    const client = await openApi(kubeconfig)
    try {
      return new MeshEnds(client, await readNodes(client))
    } catch (error) {
      client.close()
      throw error
    }
  }

  private constructor(client: ApiClient, objects: readonly unknown[]) {
    this.#client = client
    this.objects = objects
    this.#nodes = objects.flatMap(raw => projectNode(raw) ?? [])
  }

  /** @throws ApiError and its like; Error for a pod without an address */
  addresses(name: string): Promise<readonly IpAddress[]> {
    return resolveEnd(name, this.#nodes, this.#client)
  }

  /** @throws ApiError and its like */
  async place(address: IpAddress, label: string): Promise<Place> {
    return await placeAmong(address, label, this.#nodes, await this.#readOwners())
  }

  /** What could not be read of whose pods are where, a sentence each. */
  async doubts(): Promise<readonly string[]> {
    return (await this.#readOwners()).doubts
  }

  /** Nodes that say that they encrypt what they send themselves. */
  encryptingHosts(family: Family): ReadonlySet<string> {
    return new Set(this.#nodes.filter(({ announced }) => announced[family]?.encryptsHosts).map(({ name }) => name))
  }

  [Symbol.dispose](): void {
    this.#client.close()
  }

  #readOwners(): Promise<PodOwners> {
    this.#owners ??= readPodOwners(this.#client, this.#nodes)
    return this.#owners
  }
}
