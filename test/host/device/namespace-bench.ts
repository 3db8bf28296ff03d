import type { WireGuardDevices } from '#wg/device/device.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { Namespace } from '../netlink/namespace.ts'
import type { Bench, RealBench } from './bench.ts'

let named = 0

/** The directory of userspace sockets is one for all network namespaces, so names are this process's own. */
export const uniqueName = (): string => `pv${process.pid.toString(36)}x${(named++).toString(36)}`

interface OpenedDevices {
  readonly devices: WireGuardDevices
  readonly close?: () => void
}

export class NamespaceBench implements Bench {
  readonly devices: WireGuardDevices
  readonly namespace: Namespace
  readonly links: RouteNetlink
  readonly real: RealBench
  readonly #names: string[] = []
  readonly #close: () => void

  private constructor(namespace: Namespace, links: RouteNetlink, { devices, close = () => {} }: OpenedDevices) {
    this.#close = close
    this.namespace = namespace
    this.links = links
    this.devices = devices
    this.real = {
      setUp: async name => {
        const link = await links.link(name)
        if (!link) throw new Error(`no ${name}`)
        await links.setLink(link.index, { up: true })
      },
      wg: (args, input) =>
        // Through a pipe: wg opens /dev/stdin by name, and Node.js gives children sockets.
        input === undefined
          ? namespace.run(['wg', ...args])
          : namespace.run(['sh', '-c', 'cat | wg "$@"', 'wg', ...args], input),
    }
  }

  static async make(
    open: (namespace: Namespace, links: RouteNetlink) => Promise<OpenedDevices>,
  ): Promise<NamespaceBench> {
    const namespace = new Namespace()
    try {
      namespace.ip('link set lo up')
      const links = RouteNetlink.openIn(namespace.path)
      return new NamespaceBench(namespace, links, await open(namespace, links))
    } catch (error) {
      namespace[Symbol.dispose]()
      throw error
    }
  }

  newName(): string {
    const name = uniqueName()
    this.#names.push(name)
    return name
  }

  async addForeignLink(name: string): Promise<void> {
    await this.links.createLink(name, 'bridge')
  }

  async hasLink(name: string): Promise<boolean> {
    return (await this.links.link(name)) !== undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const name of this.#names) {
        // What is no device goes with its namespace.
        await this.devices.remove(name).catch(() => undefined)
      }
    } finally {
      this.#close()
      this.links[Symbol.dispose]()
      this.namespace[Symbol.dispose]()
    }
  }
}
