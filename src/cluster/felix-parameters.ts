import {
  boolean,
  integer,
  interfaceName,
  markMask,
  oneOf,
  type Parse,
  pattern,
  seconds,
  tableRange,
  tableRanges,
} from './felix-values.ts'

interface Parameter<T> {
  /** JSON name in the spec. */
  readonly field: string
  /** Felix's parameter name, where it is not the JSON name. */
  readonly parameter?: string
  readonly parse: Parse<T>
}

const port = integer([[1, 65_535]])

/** Every field that Podveil heeds, by the key of its value while it is being resolved. */
export const PARAMETERS = {
  enabled4: { field: 'wireguardEnabled', parse: boolean },
  enabled6: { field: 'wireguardEnabledV6', parse: boolean },
  interfaceName4: { field: 'wireguardInterfaceName', parse: interfaceName },
  interfaceName6: { field: 'wireguardInterfaceNameV6', parse: interfaceName },
  listeningPort4: { field: 'wireguardListeningPort', parse: port },
  listeningPort6: { field: 'wireguardListeningPortV6', parse: port },
  // RFC 791 and RFC 8200: what every host must take in one piece, and the least that a link may carry.
  mtu4: {
    field: 'wireguardMTU',
    parse: integer([
      [0, 0],
      [576, 65_535],
    ]),
  },
  mtu6: {
    field: 'wireguardMTUV6',
    parse: integer([
      [0, 0],
      [1280, 65_535],
    ]),
  },
  hostEncryptionEnabled: { field: 'wireguardHostEncryptionEnabled', parse: boolean },
  routingRulePriority: { field: 'wireguardRoutingRulePriority', parse: integer([[1, 32_765]]) },
  persistentKeepalive: {
    field: 'wireguardKeepAlive',
    parameter: 'WireguardPersistentKeepAlive',
    // The kernel counts whole seconds; rounding down would turn half a second into off.
    parse: (raw, form) => Math.ceil(seconds(65_535)(raw, form)),
  },
  threadingEnabled: { field: 'wireguardThreadingEnabled', parse: boolean },
  routeSource: {
    field: 'routeSource',
    parse: oneOf({ calicoipam: 'CalicoIPAM', workloadips: 'WorkloadIPs' } as const),
  },
  routeTableRanges: { field: 'routeTableRanges', parse: tableRanges },
  routeTableRange: { field: 'routeTableRange', parse: tableRange },
  routeSyncDisabled: { field: 'routeSyncDisabled', parse: boolean },
  deviceRouteProtocol: { field: 'deviceRouteProtocol', parse: integer([[1, 255]]) },
  routeRefreshInterval: { field: 'routeRefreshInterval', parse: seconds(1_000_000) },
  markMask: { field: 'iptablesMarkMask', parse: markMask },
  nftablesMarkMask: { field: 'nftablesMarkMask', parse: markMask },
  mtuIfacePattern: { field: 'mtuIfacePattern', parse: pattern },
  ipv6Support: { field: 'ipv6Support', parse: boolean },
  logSeverity: {
    field: 'logSeverityScreen',
    // Felix's `none` is no log at all; the last words of an agent are worth a line.
    parse: oneOf({
      trace: 'trace',
      debug: 'debug',
      info: 'info',
      warning: 'warn',
      error: 'error',
      fatal: 'fatal',
      none: 'fatal',
    } as const),
  },
  wireguardMetricsEnabled: { field: 'prometheusWireGuardMetricsEnabled', parse: boolean },
} satisfies Record<string, Parameter<unknown>>

export type ParameterKey = keyof typeof PARAMETERS
type Parsed<K extends ParameterKey> = ReturnType<(typeof PARAMETERS)[K]['parse']>
/** Of some it matters whether somebody has said it. */
export type ParameterValues = {
  readonly [K in ParameterKey]: K extends 'routeSource' | 'logSeverity' | 'nftablesMarkMask'
    ? Parsed<K> | undefined
    : Parsed<K>
}

/** Felix's defaults (`felix/config/config_params.go`). */
export const DEFAULTS: ParameterValues = {
  enabled4: false,
  enabled6: false,
  interfaceName4: 'wireguard.cali',
  interfaceName6: 'wg-v6.cali',
  listeningPort4: 51_820,
  listeningPort6: 51_821,
  mtu4: 0,
  mtu6: 0,
  hostEncryptionEnabled: false,
  routingRulePriority: 99,
  persistentKeepalive: 0,
  threadingEnabled: false,
  routeSource: undefined,
  routeTableRanges: [],
  routeTableRange: [],
  routeSyncDisabled: false,
  deviceRouteProtocol: 3,
  routeRefreshInterval: 90,
  markMask: 0xffff0000,
  nftablesMarkMask: undefined,
  mtuIfacePattern: /^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)/,
  ipv6Support: true,
  logSeverity: undefined,
  wireguardMetricsEnabled: true,
}

/** Felix's name of a parameter in lower case: names of the environment and of annotations are looked up by it. */
export function parameterName(key: ParameterKey): string {
  const { field, parameter = field }: Parameter<unknown> = PARAMETERS[key]
  return parameter.toLowerCase()
}

export const parameterKeys = Object.keys(PARAMETERS) as readonly ParameterKey[]
