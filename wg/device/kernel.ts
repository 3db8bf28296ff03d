import type { PublicKey } from '#keys/public-key.ts'
import type { Connection } from '../netlink/connection.ts'
import { isNetlinkError } from '../netlink/errors.ts'
import type { NetlinkMessage } from '../netlink/message.ts'
import { inSlices } from '../slices.ts'
import { encodeGetDevice, encodeSetDevice, type WireGuardFamily } from '../wireguard/encode.ts'
import { parseDevice, parseSomePeers } from '../wireguard/parse.ts'
import type { DeviceChange, DeviceStatus, SomePeers, WireGuardDevices } from './device.ts'
import { deviceError, foreignLink } from './errors.ts'
import type { Links } from './links.ts'
import { checkDeviceName } from './name.ts'
import { PeerReader, type Peers } from './peer-reader.ts'
import { PrefixRemover, splitRemovals } from './removal.ts'

const KIND = 'wireguard'

/** The kernel's own WireGuard: links by rtnetlink, devices by the generic netlink family `wireguard`. */
export class KernelDevices implements WireGuardDevices {
  readonly kind = 'kernel'
  readonly #links: Links
  readonly #connection: Pick<Connection, 'request' | 'dump'>
  readonly #family: WireGuardFamily
  readonly #prefixes: PrefixRemover
  readonly #readers = new Map<string, PeerReader>()

  /** @param connection to NETLINK_GENERIC in the network namespace of `links` */
  constructor(links: Links, connection: Pick<Connection, 'request' | 'dump'>, family: WireGuardFamily) {
    this.#links = links
    this.#connection = connection
    this.#family = family
    this.#prefixes = new PrefixRemover(
      (name, change) => this.#write(name, change),
      // Strict parsing: an attribute that the kernel does not know.
      error => isNetlinkError(error, 'EINVAL'),
    )
  }

  async create(name: string): Promise<void> {
    checkDeviceName(name)
    try {
      if (await this.#exists(name)) return
      await this.#links.createLink(name, KIND)
    } catch (error) {
      if (isNetlinkError(error, 'EEXIST') && (await this.#exists(name))) return
      throw deviceError(error, name)
    }
  }

  async read(name: string, known?: Peers): Promise<DeviceStatus | undefined> {
    const reader = this.#readers.get(name) ?? new PeerReader()
    this.#readers.delete(name)
    const status = await this.#dump(name, messages => parseDevice(messages, reader, known))
    if (status) this.#readers.set(name, reader)
    return status
  }

  async readSome(name: string, keys: ReadonlySet<PublicKey>): Promise<SomePeers | undefined> {
    return await this.#dump(name, messages => parseSomePeers(messages, keys))
  }

  /** @returns undefined when there is no such device @throws DeviceError */
  async #dump<Result>(
    name: string,
    parse: (messages: readonly Pick<NetlinkMessage, 'payload'>[]) => Generator<undefined, Result>,
  ): Promise<Result | undefined> {
    checkDeviceName(name)
    try {
      return await inSlices(parse(await this.#connection.dump(encodeGetDevice(this.#family, name), `read ${name}`)))
    } catch (error) {
      if (isNetlinkError(error, 'ENODEV')) return undefined
      throw isNetlinkError(error, 'EOPNOTSUPP') ? foreignLink(name, 'another', KIND) : deviceError(error, name)
    }
  }

  async configure(name: string, change: DeviceChange): Promise<void> {
    checkDeviceName(name)
    const split = splitRemovals(change)
    try {
      await this.#write(name, split.main)
      await this.#prefixes.remove(name, split)
    } catch (error) {
      throw isNetlinkError(error, 'EOPNOTSUPP') ? foreignLink(name, 'another', KIND) : deviceError(error, name, change)
    }
  }

  async remove(name: string): Promise<void> {
    checkDeviceName(name)
    try {
      const link = await this.#links.link(name)
      if (!link) return
      if (link.kind !== KIND) throw foreignLink(name, link.kind, KIND)
      await this.#removePeers(name)
      await this.#links.deleteLink(link.index)
    } catch (error) {
      if (isNetlinkError(error, 'ENODEV')) return
      throw deviceError(error, name)
    }
  }

  /** @throws DeviceError when the name is another kind of link's */
  async #exists(name: string): Promise<boolean> {
    const link = await this.#links.link(name)
    if (link && link.kind !== KIND) throw foreignLink(name, link.kind, KIND)
    return link !== undefined
  }

  /** Deleting a device with peers on it waits for a grace period for each, all under RTNL: 18 s for 1,000, measured. */
  async #removePeers(name: string): Promise<void> {
    const device = await this.read(name)
    const peers = Array.from(device?.peers.keys() ?? [], publicKey => ({ kind: 'remove' as const, publicKey }))
    await this.#write(name, { peers })
  }

  /** One message at a time: the kernel works within the send, and the event loop needs its turn. */
  async #write(name: string, change: DeviceChange): Promise<void> {
    for (const request of encodeSetDevice(this.#family, name, change))
      await this.#connection.request(request, `configure ${name}`)
  }
}
