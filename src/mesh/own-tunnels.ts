import { type Family, familyOf, type IpAddress } from '#wg/ip.ts'
import type { IpamBlock, TunnelAddress } from './ipam-block.ts'
import type { NodeName } from './node-record.ts'

/** What Calico's IPAM has allocated to the devices of one node. */
export class OwnTunnels {
  readonly #self: NodeName
  readonly #byBlock = new Map<string, readonly TunnelAddress[]>()

  constructor(self: NodeName) {
    this.#self = self
  }

  /** @param block as it is now; undefined when it is gone */
  note(name: string, block: IpamBlock | undefined): void {
    const own = block?.tunnels.filter(({ node }) => node === this.#self) ?? []
    if (own.length > 0) this.#byBlock.set(name, own)
    else this.#byBlock.delete(name)
  }

  /** What is for WireGuard, else for another encapsulation: either is this node's alone. */
  address(family: Family): IpAddress | undefined {
    const own = [...this.#byBlock.values()].flat().filter(({ address }) => familyOf(address) === family)
    own.sort((a, b) => Number(b.wireguard) - Number(a.wireguard) || (a.address < b.address ? -1 : 1))
    return own[0]?.address
  }
}
