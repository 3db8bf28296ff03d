import type { DeviceChange, PeerChange, WireGuardDevices } from '../device/device.ts'
import { addressBits, type Family } from '../ip.ts'
import { isNetlinkError } from '../netlink/errors.ts'
import type { Link } from '../rtnetlink/link.ts'
import type { RouteNetlink } from '../rtnetlink/route-netlink.ts'
import { chunks } from '../slices.ts'
import { readSysctl, writeSysctl } from '../sysctl.ts'
import type { DesiredDevice } from './desired.ts'
import type { DeviceMirror } from './device-mirror.ts'

/** What a family needs of rtnetlink. */
export type FamilyNet = Pick<
  RouteNetlink,
  | 'link'
  | 'links'
  | 'setLink'
  | 'addresses'
  | 'addAddress'
  | 'deleteAddress'
  | 'routes'
  | 'applyRoutes'
  | 'rules'
  | 'addRule'
  | 'deleteRule'
>

/** Peers of one write: as many as go into one message, so that no more are noted at once. */
const CHUNK = 256

/** Handlers for what is done to the kernel. */
export interface KernelNotes {
  /** A change that was made, in words. */
  wrote(words: string): void
  /** Something that could not be set and that is not worth stopping for. */
  degraded(error: Error): void
  /** What somebody else did, in words: found by looking, where the event alone could not tell. */
  foreign(words: string): void
}

/** Brings one device, its link, addresses and sysctls to what is desired. Every write is noted in the mirror before it is sent. */
export class DeviceWriter {
  readonly #devices: WireGuardDevices
  readonly #net: FamilyNet
  readonly #notes: KernelNotes
  /** Links whose sysctls were as they should be, by index. */
  readonly #tuned = new Set<number>()

  constructor(devices: WireGuardDevices, net: FamilyNet, notes: KernelNotes) {
    this.#devices = devices
    this.#net = net
    this.#notes = notes
  }

  /**
   * All but the peers.
   * @returns how many changes were made
   * @throws NetlinkError, DeviceError
   */
  async bringUp(held: DeviceMirror, family: Family, device: DesiredDevice): Promise<number> {
    const { name } = device
    let changes = 0
    if (!held.link || !held.status) {
      if (held.renamed) await this.#nameAgain(held.renamed, name)
      await this.#devices.create(name)
      held.link = await this.#net.link(name)
      held.noteStatus(await this.#devices.read(name))
      this.#notes.wrote(`made ${name}`)
      changes++
    }
    const { link } = held
    if (!link) throw new Error(`${name} is gone right after it was made`)
    changes += await this.configure(held, {
      ...(held.status?.publicKey !== device.privateKey.publicKey() && { privateKey: device.privateKey }),
      ...(held.status?.fwmark !== device.fwmark && { fwmark: device.fwmark }),
    })
    if (link.mtu !== device.mtu) {
      held.link = { ...link, mtu: device.mtu }
      await this.#net.setLink(link.index, { mtu: device.mtu })
      this.#notes.wrote(`set the MTU of ${name} to ${device.mtu}`)
      changes++
    }
    changes += await this.#setAddresses(held, link.index, family, device)
    if (!held.tuned) {
      await this.#tune(family, link)
      held.tuned = true
    }
    if (!link.up) {
      held.link = { ...link, mtu: device.mtu, up: true }
      await this.#net.setLink(link.index, { up: true })
      changes++
    }
    // After it is up: only then does a port that is taken show itself in both kinds of device.
    if (held.status?.listenPort !== device.listenPort)
      changes += await this.configure(held, { listenPort: device.listenPort })
    return changes
  }

  /** @returns how many changes were made @throws NetlinkError, DeviceError */
  async configure(held: DeviceMirror, change: DeviceChange): Promise<number> {
    const { peers = [], ...fields } = change
    const { name } = held
    if (peers.length === 0 && Object.keys(fields).length === 0) return 0
    if (Object.keys(fields).length > 0) await this.#devices.configure(name, fields)
    for (const some of chunks(peers, CHUNK)) {
      await this.#devices.configure(name, { peers: some })
      for (const peer of some) {
        held.notePeer(peer)
        this.#notes.wrote(describePeer(name, peer))
      }
    }
    if (Object.keys(fields).length > 0) {
      held.noteStatus(await this.#devices.read(name, held.peers))
      this.#notes.wrote(`set ${Object.keys(fields).join(', ')} of ${name}`)
    }
    return peers.length + Object.keys(fields).length
  }

  async #setAddresses(held: DeviceMirror, ifindex: number, family: Family, device: DesiredDevice): Promise<number> {
    const prefixLength = addressBits(family)
    const missing = [...device.addresses.difference(held.addresses)]
    const surplus = [...held.addresses.difference(device.addresses)]
    for (const address of missing) {
      held.addresses.add(address)
      await this.#net.addAddress(ifindex, { address, prefixLength })
      this.#notes.wrote(`added address ${address} to ${device.name}`)
    }
    for (const address of surplus) {
      held.addresses.delete(address)
      try {
        await this.#net.deleteAddress(ifindex, { address, prefixLength })
      } catch (error) {
        if (!isNetlinkError(error, 'EADDRNOTAVAIL')) throw error
      }
      this.#notes.wrote(`removed address ${address} from ${device.name}`)
    }
    return missing.length + surplus.length
  }

  /** What is lost of it by that, is set as it is of a new one. */
  async #nameAgain({ index, name: other }: Link, name: string): Promise<void> {
    try {
      await this.#net.setLink(index, { name })
    } catch (error) {
      if (isNetlinkError(error, 'ENODEV')) return
      if (!isNetlinkError(error, 'EBUSY')) throw error
      // Before Linux 6.2 what is up keeps its name.
      await this.#net.setLink(index, { up: false })
      await this.#net.setLink(index, { name })
    }
    this.#notes.wrote(`gave ${other} the name ${name} again`)
  }

  /** Loose reverse-path filter: while one side of a pair steers and the other does not yet, both ways must be let in. */
  async #tune(family: Family, { name, index }: Link): Promise<void> {
    // No link-local addresses of its own making, and no questions to routers, in a tunnel that leads to nodes alone.
    const settings: [string, string][] = [
      [`net/ipv6/conf/${name}/addr_gen_mode`, '1'],
      [`net/ipv6/conf/${name}/accept_ra`, '0'],
    ]
    if (family === 4) settings.push([`net/ipv4/conf/${name}/rp_filter`, '2'])
    for (const [sysctl, value] of settings) {
      try {
        const found = await readSysctl(sysctl)
        // A kernel without IPv6 has none of its settings.
        if (sysctl.startsWith('net/ipv6/') && found === undefined) continue
        if ((await writeSysctl(sysctl, value)) && this.#tuned.has(index))
          this.#notes.foreign(`set ${sysctl} to ${found}`)
      } catch (error) {
        this.#notes.degraded(error as Error)
      }
    }
    this.#tuned.add(index)
  }
}

function describePeer(device: string, change: PeerChange): string {
  const key = change.publicKey.slice(0, 8)
  if (change.kind === 'remove') return `removed peer ${key} from ${device}`
  const parts = [
    change.endpoint && `endpoint ${change.endpoint.address}`,
    change.persistentKeepalive !== undefined && `keepalive ${change.persistentKeepalive}`,
    change.addAllowedIps?.length && `+${change.addAllowedIps.join(' +')}`,
    change.removeAllowedIps?.length && `-${change.removeAllowedIps.join(' -')}`,
  ]
  return `set peer ${key} of ${device}: ${parts.filter(Boolean).join(', ')}`
}
