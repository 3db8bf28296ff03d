/** A link of the host, as far as it may be a pod's. */
export interface MtuLink {
  readonly name: string
  /** As the kernel names what is behind it. */
  readonly kind?: string | undefined
  /** Bytes. */
  readonly mtu: number
  readonly up: boolean
}

/**
 * The largest MTU of a pod, by the host's ends of their veths.
 * @param underlay names of the host's own interfaces, which may be veths themselves
 * @returns bytes, 0 where there is no pod
 */
export function podMtu(links: Iterable<MtuLink>, underlay: RegExp): number {
  let most = 0
  for (const { name, kind, mtu, up } of links)
    if (up && kind === 'veth' && !underlay.test(name)) most = Math.max(most, mtu)
  return most
}

/** @returns a sentence where pods send what the tunnel cannot take and nothing tells TCP in time; undefined where they do not */
export function unclamped(pods: number, tunnel: number, clamps: boolean): string | undefined {
  if (clamps || pods <= tunnel) return undefined
  return `pods have an MTU of ${pods}, the tunnel has ${tunnel}, and nothing clamps TCP: connections stall wherever ICMP does not come through`
}

export const UNCLAMPED_REMEDY =
  'get nftables to work on this node, which clamps TCP, or give pods the tunnel’s MTU in the configuration of the CNI'
