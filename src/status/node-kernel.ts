import type { DeviceKind, DeviceStatus } from '#wg/device/device.ts'
import type { Family, IpAddress } from '#wg/ip.ts'
import type { Link } from '#wg/rtnetlink/link.ts'
import type { Route } from '#wg/rtnetlink/route.ts'
import type { Rule } from '#wg/rtnetlink/rule.ts'

/** What the kernel of this node holds of one family, as it was just read. */
export interface KernelFamily {
  readonly family: Family
  /** The private key is not in it. */
  readonly device: Omit<DeviceStatus, 'privateKey'> | undefined
  readonly link: Link | undefined
  /** The second device, while the first one gets another key, port or name: traffic may be on it. */
  readonly spare?: {
    readonly link: Link
    readonly device: Omit<DeviceStatus, 'privateKey'>
    readonly addresses?: readonly IpAddress[]
  }
  readonly addresses: readonly IpAddress[]
  /** All rules, in the kernel's order. */
  readonly rules: readonly Rule[]
  /** Of every table that a rule looks up. */
  readonly routes: ReadonlyMap<number, readonly Route[]>
}

/** The device that a route with this index leads into; undefined where that is no tunnel. */
export function tunnelAt(
  { link, device, spare }: Pick<KernelFamily, 'link' | 'device' | 'spare'>,
  index: number | undefined,
): { readonly link: Link; readonly device: KernelFamily['device'] } | undefined {
  if (index === undefined) return undefined
  if (link?.index === index) return { link, device }
  return spare?.link.index === index ? spare : undefined
}

export interface NodeKernel {
  /** Undefined where there is no WireGuard at all. */
  readonly kind: DeviceKind | undefined
  /** Names of links, by index. */
  readonly links: ReadonlyMap<number, string>
  readonly families: Readonly<Record<Family, KernelFamily>>
}
