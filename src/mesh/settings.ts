import type { Family } from '#wg/ip.ts'

export type LogSeverity = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'

/** FelixConfiguration as it applies to this node, after defaults and precedence. Field names follow Calico's. */
export interface FelixSettings {
  readonly wireguard: Readonly<
    Record<
      Family,
      {
        /** wireguardEnabled, wireguardEnabledV6. */
        readonly enabled: boolean
        /** wireguardInterfaceName, …V6. */
        readonly interfaceName: string
        /** wireguardListeningPort, …V6. */
        readonly listeningPort: number
        /** wireguardMTU, …V6; 0 is automatic. */
        readonly mtu: number
      }
    >
  >
  /** wireguardHostEncryptionEnabled. */
  readonly hostEncryptionEnabled: boolean
  /** wireguardRoutingRulePriority. */
  readonly routingRulePriority: number
  /** wireguardKeepAlive, in seconds; 0 is off. */
  readonly persistentKeepalive: number
  /** wireguardThreadingEnabled. */
  readonly threadingEnabled: boolean
  /** routeSource; undefined where nobody says. */
  readonly routeSource: 'CalicoIPAM' | 'WorkloadIPs' | undefined
  /** routeTableRanges, or routeTableRange as a list of one. */
  readonly routeTableRanges: readonly { readonly min: number; readonly max: number }[]
  /** routeSyncDisabled. */
  readonly routeSyncDisabled: boolean
  /** deviceRouteProtocol: rtnetlink protocol number of our routes. */
  readonly deviceRouteProtocol: number
  /** routeRefreshInterval in seconds: the period of the full audit; 0 is never. */
  readonly routeRefreshInterval: number
  /** iptablesMarkMask: bits that packet marks may use. */
  readonly markMask: number
  /** mtuIfacePattern. */
  readonly mtuIfacePattern: RegExp
  /** ipv6Support. */
  readonly ipv6Support: boolean
  /** logSeverityScreen; undefined where nobody says. */
  readonly logSeverity: LogSeverity | undefined
  /** prometheusWireGuardMetricsEnabled. */
  readonly wireguardMetricsEnabled: boolean
}
