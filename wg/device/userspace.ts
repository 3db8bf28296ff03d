import type { PublicKey } from '#keys/public-key.ts'
import { UapiClient } from '../uapi/client.ts'
import { isUapiError } from '../uapi/errors.ts'
import { UserspaceProcesses, type UserspaceProcessOptions } from '../uapi/process.ts'
import { ReceiveQueues } from '../uapi/receive-queue.ts'
import { type DeviceChange, DeviceError, type DeviceStatus, type SomePeers, type WireGuardDevices } from './device.ts'
import { deviceError, foreignLink } from './errors.ts'
import type { Links } from './links.ts'
import { checkDeviceName } from './name.ts'
import type { Peers } from './peer-reader.ts'
import { PrefixRemover, splitRemovals } from './removal.ts'

const KIND = 'tun'
const WANTED = 'a userspace WireGuard device'
/** Packets that may wait while the process has no processor; a TUN device's own 500 is a tenth of a second of a busy node. */
const TX_QUEUE_LENGTH = 4_096

/** WireGuard in user space: a process for each device, over the cross-platform userspace protocol. */
export class UserspaceDevices implements WireGuardDevices {
  readonly kind = 'userspace'
  readonly #links: Links
  readonly #client: UapiClient
  readonly #processes: UserspaceProcesses
  readonly #queues = new ReceiveQueues()
  readonly #prefixes: PrefixRemover

  /** @param links of the network namespace that this process, and so the processes it starts, are in */
  constructor(links: Links, options: UserspaceProcessOptions = {}) {
    this.#links = links
    this.#client = new UapiClient(options.directory === undefined ? {} : { directory: options.directory })
    this.#processes = new UserspaceProcesses(options)
    this.#prefixes = new PrefixRemover(
      (name, change) => this.#client.set(name, change),
      // `-10.0.0.0/8` is no prefix to an older implementation.
      error => isUapiError(error, 'EINVAL', 'EPROTO'),
    )
  }

  async create(name: string): Promise<void> {
    await this.#translated(name, {}, async () => {
      if (!(await this.#adopted(name))) await this.#processes.start(name)
      const link = await this.#links.link(name)
      if (link) await this.#links.setLink(link.index, { txQueueLength: TX_QUEUE_LENGTH })
    })
  }

  async read(name: string, known?: Peers): Promise<DeviceStatus | undefined> {
    const status = await this.#translated(name, {}, () => this.#client.get(name, known))
    // A device is read before it is trusted with traffic: that is when its sockets, whoever had them made, can be seen to.
    if (status) await this.#queues.enlarge(this.#client.socketPath(name), status.listenPort)
    return status
  }

  async readSome(name: string, keys: ReadonlySet<PublicKey>): Promise<SomePeers | undefined> {
    return await this.#translated(name, {}, () => this.#client.getSome(name, keys))
  }

  async configure(name: string, change: DeviceChange): Promise<void> {
    const split = splitRemovals(change)
    await this.#translated(name, change, async () => {
      await this.#client.set(name, split.main)
      await this.#prefixes.remove(name, split)
    })
  }

  async remove(name: string): Promise<void> {
    await this.#translated(name, {}, async () => {
      const link = await this.#links.link(name)
      const device = await this.#client.get(name)
      if (link && (link.kind !== KIND || !device)) throw foreignLink(name, link.kind, WANTED)
      if (link && device) {
        const peers = Array.from(device.peers.keys(), publicKey => ({ kind: 'remove' as const, publicKey }))
        await this.#client.set(name, { peers })
        await this.#links.deleteLink(link.index)
      }
      await this.#ended(name)
    })
  }

  /**
   * @returns whether a process already serves this device
   * @throws DeviceError when the name is another kind of link's, or the process is in another network namespace
   */
  async #adopted(name: string): Promise<boolean> {
    const link = await this.#links.link(name)
    const isRunning = await this.#processes.isRunning(name)
    if (link && (link.kind !== KIND || !isRunning)) throw foreignLink(name, link.kind, WANTED)
    // A process whose device has just been deleted is on its way out.
    if (!link && isRunning) await this.#ended(name)
    return link !== undefined
  }

  async #ended(name: string): Promise<void> {
    if (await this.#processes.waitForExit(name)) return
    throw new DeviceError(
      'refused',
      name,
      `${this.#client.socketPath(name)} is of a device in another network namespace, or of one that was renamed: choose another wireguardInterfaceName, give each its own socket directory, or name it ${name} again`,
    )
  }

  async #translated<Result>(name: string, change: DeviceChange, action: () => Promise<Result>): Promise<Result> {
    checkDeviceName(name)
    try {
      return await action()
    } catch (error) {
      throw deviceError(error, name, change)
    }
  }
}
