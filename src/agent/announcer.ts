import { isDeepStrictEqual } from 'node:util'
import type { ApiClient } from '#src/cluster/api-client.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { MeshNodePublisher } from '#src/cluster/mesh-node-publisher.ts'
import { Publisher } from '#src/cluster/publisher.ts'
import { descriptionTexts, type SelfDescription } from '#src/cluster/self-description.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'
import { announcementAnnotations, type FamilyAnnouncement } from './announce.ts'
import type { ClusterFeed } from './cluster-feed.ts'

export interface AnnouncerOptions {
  readonly client: ApiClient
  readonly nodeName: NodeName
  readonly log: Logger
}

type Announced = Readonly<Record<Family, FamilyAnnouncement>>
type Feed = Pick<ClusterFeed, 'ownWritten' | 'ownRecord' | 'ownDescription' | 'peers'>

/** Says on our own Node and MeshNode what this node has for the others. */
export class Announcer {
  readonly #keys: Publisher
  /** Apart: whoever may not write a label still says its keys. */
  readonly #description: Publisher
  readonly #meshNode: MeshNodePublisher
  #announced: Announced | undefined
  #described: SelfDescription | undefined | null = null

  constructor({ client, nodeName, log: logger }: AnnouncerOptions) {
    this.#keys = new Publisher({ client, nodeName, logger })
    this.#description = new Publisher({ client, nodeName, logger, subject: 'addresses and pod CIDRs' })
    this.#meshNode = new MeshNodePublisher({ client, logger })
  }

  /** What the API server has of us. */
  observed({ ownWritten, ownRecord, peers }: Feed): void {
    this.#keys.observed(ownWritten)
    this.#description.observed(ownWritten)
    this.#meshNode.setDesired(ownRecord)
    if (peers.readsMeshNodes) this.#meshNode.observed(peers.ownMeshNode)
  }

  /** @param description undefined where nothing is known of our Node */
  announce(announced: Announced, description: SelfDescription | undefined): void {
    if (!isDeepStrictEqual(announced, this.#announced)) {
      this.#announced = announced
      this.#keys.setDesired(announcementAnnotations(announced))
    }
    // One that encrypts nothing leaves no trace.
    const said = FAMILIES.some(family => announced[family].main !== undefined) ? description : undefined
    if (isDeepStrictEqual(said, this.#described)) return
    this.#described = said
    const { annotations, labels } = descriptionTexts(said)
    this.#description.setDesired(annotations, labels)
  }

  /** What was said stays. */
  async stop(): Promise<void> {
    await Promise.all([this.#keys.stop(), this.#description.stop(), this.#meshNode.stop()])
  }
}
