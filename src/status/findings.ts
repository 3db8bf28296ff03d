import type { NodeKernel } from './node-kernel.ts'
import type { NodeSnapshot } from './snapshot.ts'

/** Whatever could be learned on a node; a text in place of a thing says why it could not. */
export interface Findings {
  /** Unix time in milliseconds. */
  readonly now: number
  readonly snapshot: NodeSnapshot | string
  readonly kernel: NodeKernel | string
  /** CAP_NET_ADMIN is among the effective capabilities. */
  readonly mayAdminister: boolean
  /** Why there is no WireGuard; undefined when there is. */
  readonly noWireGuard: string | undefined
  /** Whether our table of nftables is there. */
  readonly firewall: boolean | string
  readonly api: ApiFindings | string
  readonly keyFile: 'loaded' | 'absent' | 'in kernel' | 'foreign' | { readonly fault: string }
  /** net.ipv4.conf.*.rp_filter and src_valid_mark, by interface, `all` among them. */
  readonly reversePath: ReadonlyMap<string, { readonly filter: number; readonly validMark: number }>
  /** The underlay's and the pods' links. */
  readonly links: readonly LinkFinding[]
  /** UDP ports that sockets of this network namespace are bound to. */
  readonly boundPorts: ReadonlySet<number>
  /** WireGuard devices of this network namespace that are not ours, by name. */
  readonly otherDevices: readonly { readonly name: string; readonly port: number; readonly fwmark: number }[]
  /** Felix runs here with its own WireGuard not switched off by its environment. */
  readonly felixRuns: boolean
}

export interface ApiFindings {
  readonly server: string
  /** Public keys that our own Node announces; undefined when there is no such Node. */
  readonly announced: { readonly 4: string | undefined; readonly 6: string | undefined } | undefined
}

export interface LinkFinding {
  readonly name: string
  readonly kind: string | undefined
  /** Bytes. */
  readonly mtu: number
  readonly up: boolean
}
