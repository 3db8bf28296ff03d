import { isDeepStrictEqual } from 'node:util'
import type { ApiClient } from '#src/cluster/api-client.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { MeshNodePublisher } from '#src/cluster/mesh-node-publisher.ts'
import { Publisher } from '#src/cluster/publisher.ts'
import { descriptionTexts, type SelfDescription } from '#src/cluster/self-description.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'
import { announcementAnnotations, type FamilyAnnouncement } from './announce.ts'
import type { ClusterFeed } from './cluster-feed.ts'

export interface AnnouncerOptions {
  readonly client: Pick<ApiClient, 'get' | 'create' | 'mergePatch'>
  readonly nodeName: NodeName
  readonly log: Logger
}

type Announced = Readonly<Record<Family, FamilyAnnouncement>>

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

  /** What the API server has of us, which is also what there is to describe: of a Node that encrypts, whatever else becomes of a pass. */
  observed({
    ownWritten,
    ownRecord,
    ownDescription,
    peers,
  }: Pick<ClusterFeed, 'ownWritten' | 'ownRecord' | 'ownDescription' | 'peers'>): void {
    this.#keys.observed(ownWritten)
    this.#description.observed(ownWritten)
    if (ownRecord) this.#describe(encrypts(ownRecord) ? ownDescription : undefined)
    this.#meshNode.setDesired(ownRecord)
    if (peers.readsMeshNodes) this.#meshNode.observed(peers.ownMeshNode)
  }

  announce(announced: Announced): void {
    if (isDeepStrictEqual(announced, this.#announced)) return
    this.#announced = announced
    this.#keys.setDesired(announcementAnnotations(announced))
  }

  /** What was said stays. */
  async stop(): Promise<void> {
    await Promise.all([this.#keys.stop(), this.#description.stop(), this.#meshNode.stop()])
  }

  #describe(description: SelfDescription | undefined): void {
    if (isDeepStrictEqual(description, this.#described)) return
    this.#described = description
    const { annotations, labels } = descriptionTexts(description)
    this.#description.setDesired(annotations, labels)
  }
}

/** Felix speaks no hello: what it writes of itself is nothing of ours. */
const encrypts = ({ announced }: NodeRecord): boolean => FAMILIES.some(family => announced[family]?.hello !== undefined)
