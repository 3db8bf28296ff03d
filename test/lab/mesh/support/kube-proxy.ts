import type { Family } from '#wg/ip.ts'

export const PROXY_MODES = ['iptables', 'nftables'] as const

/** What kube-proxy makes its rules with (`--proxy-mode`). */
export type ProxyMode = (typeof PROXY_MODES)[number]

/** A service of one endpoint. */
export interface Service {
  readonly clusterIp: string
  readonly port: number
  /** Address and port, the address of IPv6 in brackets. */
  readonly endpoint: string
  /** Also for what does not come from outside the cluster (`--masquerade-all`). */
  readonly masqueraded: boolean
  readonly nodePort: number | undefined
}

/** What kube-proxy marks with what it is to masquerade (`--iptables-masquerade-bit`). */
const MARK = '0x4000'

/**
 * Rules for nft that make the same chains at the same hooks and priorities as kube-proxy does, and that decide alike, so far
 * as it touches a packet's way; without its balancing, comments and counters.
 */
export const proxyRules = (mode: ProxyMode, family: Family, services: readonly Service[]): string =>
  (mode === 'iptables' ? iptablesRules : nftablesRules)(family === 4 ? 'ip' : 'ip6', services)

const MASQUERADE = [
  `meta mark & ${MARK} != ${MARK} return`,
  `meta mark set meta mark ^ ${MARK}`,
  'masquerade fully-random',
].join('\n')

const markIf = (masqueraded: boolean): string => (masqueraded ? `meta mark set meta mark | ${MARK} ` : '')

/** Chains of iptables are of the tables nat and filter, which others share. */
function iptablesRules(ip: string, services: readonly Service[]): string {
  const ports = services.flatMap(({ nodePort, endpoint }) =>
    nodePort === undefined ? [] : [`tcp dport ${nodePort} ${markIf(true)}dnat to ${endpoint}`],
  )
  return `
    table ${ip} nat {
      chain KUBE-NODEPORTS { ${ports.join('\n')}
      }
      chain KUBE-SERVICES {
        ${services.map(({ clusterIp, port, masqueraded, endpoint }) => `${ip} daddr ${clusterIp} tcp dport ${port} ${markIf(masqueraded)}dnat to ${endpoint}`).join('\n')}
        fib daddr type local jump KUBE-NODEPORTS
      }
      chain KUBE-POSTROUTING { ${MASQUERADE}
      }
      chain PREROUTING { type nat hook prerouting priority dstnat; jump KUBE-SERVICES; }
      chain OUTPUT { type nat hook output priority -100; jump KUBE-SERVICES; }
      chain POSTROUTING { type nat hook postrouting priority srcnat; jump KUBE-POSTROUTING; }
    }
    table ${ip} filter {
      chain KUBE-FORWARD {
        ct state invalid drop
        meta mark & ${MARK} == ${MARK} accept
        ct state related,established accept
      }
      chain FORWARD { type filter hook forward priority filter; jump KUBE-FORWARD; }
    }`
}

/** A table of its own, whose filter comes first. */
function nftablesRules(ip: string, services: readonly Service[]): string {
  const chain = (service: Service, from: string) => `${from}-${service.clusterIp.replaceAll(/[.:]/g, '-')}`
  const ports = services.filter(({ nodePort }) => nodePort !== undefined)
  return `
    table ${ip} kube-proxy {
      ${services
        .map(
          service => `
      chain ${chain(service, 'service')} { ${markIf(service.masqueraded)}meta l4proto tcp dnat to ${service.endpoint}; }
      chain ${chain(service, 'external')} { ${markIf(true)}goto ${chain(service, 'service')}; }`,
        )
        .join('')}
      map service-ips {
        type ${ip === 'ip' ? 'ipv4_addr' : 'ipv6_addr'} . inet_proto . inet_service : verdict
        elements = { ${services.map(service => `${service.clusterIp} . tcp . ${service.port} : goto ${chain(service, 'service')}`).join(', ')} }
      }
      map service-nodeports {
        type inet_proto . inet_service : verdict
        ${ports.length > 0 ? `elements = { ${ports.map(service => `tcp . ${service.nodePort} : goto ${chain(service, 'external')}`).join(', ')} }` : ''}
      }
      chain services {
        ${ip} daddr . meta l4proto . th dport vmap @service-ips
        fib daddr type local meta l4proto . th dport vmap @service-nodeports
      }
      chain masquerading { ${MASQUERADE}
      }
      chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
      chain nat-output { type nat hook output priority -100; jump services; }
      chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
      chain filter-forward { type filter hook forward priority -110; ct state new accept; }
    }`
}
