import type { Family } from '#wg/ip.ts'

/** Annotations of a Node, each name written once. Those of projectcalico.org are Calico's own. */
export const annotations = {
  /** Base64 of 32 bytes. */
  publicKey: { 4: 'projectcalico.org/WireguardPublicKey', 6: 'projectcalico.org/WireguardPublicKeyV6' },
  /** The device's own address, without a prefix length. */
  interfaceAddress: {
    4: 'projectcalico.org/IPv4WireguardInterfaceAddr',
    6: 'projectcalico.org/IPv6WireguardInterfaceAddr',
  },
  /** Underlay address that Calico detected, as CIDR text; read, never written. */
  nodeAddress: { 4: 'projectcalico.org/IPv4Address', 6: 'projectcalico.org/IPv6Address' },
  /** Addresses of the devices of other encapsulations; read, never written. */
  tunnelAddress: {
    4: ['projectcalico.org/IPv4IPIPTunnelAddr', 'projectcalico.org/IPv4VXLANTunnelAddr'],
    6: ['projectcalico.org/IPv6VXLANTunnelAddr'],
  },
  /** UDP port that the device listens on. */
  port: { 4: 'podveil.io/wireguard-port', 6: 'podveil.io/wireguard-port-v6' },
  /** The spare device: its key (base64 of 32 bytes), its UDP port, and where traffic is to go meanwhile (away, back). */
  spareKey: { 4: 'podveil.io/spare-public-key', 6: 'podveil.io/spare-public-key-v6' },
  sparePort: { 4: 'podveil.io/spare-port', 6: 'podveil.io/spare-port-v6' },
  move: { 4: 'podveil.io/move', 6: 'podveil.io/move-v6' },
  /** `true`: what this node sends to nodes that say the same goes by the tunnel. */
  encryptsHosts: { 4: 'podveil.io/host-encryption', 6: 'podveil.io/host-encryption-v6' },
  /** Version of the hello protocol, one for both families; its presence says that the node runs Podveil. */
  hello: 'podveil.io/hello',
  /** Of status.addresses what counts, and spec.podCIDRs, comma-separated, for readers that watch metadata alone. */
  addresses: 'podveil.io/addresses',
  podCidrs: 'podveil.io/pod-cidrs',
} as const satisfies Record<string, string | Record<Family, string | readonly string[]>>

/**
 * Label of a Node whose annotations say all that others need of its spec and status: whoever watches whole Nodes can leave it
 * out.
 */
export const SELF_DESCRIBED = 'podveil.io/self-described'

/** Every key that an agent may write on its own Node: what the admission policy allows and `cleanup` withdraws. */
export const OWN_ANNOTATIONS: readonly string[] = [
  annotations.publicKey[4],
  annotations.publicKey[6],
  annotations.interfaceAddress[4],
  annotations.interfaceAddress[6],
  annotations.port[4],
  annotations.port[6],
  annotations.spareKey[4],
  annotations.spareKey[6],
  annotations.sparePort[4],
  annotations.sparePort[6],
  annotations.move[4],
  annotations.move[6],
  annotations.encryptsHosts[4],
  annotations.encryptsHosts[6],
  annotations.hello,
  annotations.addresses,
  annotations.podCidrs,
]
