import type { Family } from '#wg/ip.ts'
import type { FamilyConfig } from './family-view.ts'
import { hostTable, IPV6_MINIMUM_MTU, meshTables, OVERHEAD, SPARE_DEVICES, wireguardMark } from './marks.ts'
import type { FelixSettings } from './settings.ts'

/** What Felix assumes where no interface of the host matches mtuIfacePattern. */
const FALLBACK_HOST_MTU = 1460

/** A link of the host, as far as the MTU is concerned. */
export interface HostLink {
  readonly name: string
  /** Bytes. */
  readonly mtu: number
  /** Operationally up. */
  readonly running: boolean
}

/**
 * One family's configuration out of Felix's settings.
 * @throws RangeError where the mark mask or the table ranges leave nothing to choose, or the device has the spare one's name
 */
export function familyConfig(family: Family, settings: FelixSettings, links: Iterable<HostLink>): FamilyConfig {
  const { interfaceName, listeningPort, mtu } = settings.wireguard[family]
  if (Object.values(SPARE_DEVICES).includes(interfaceName))
    throw new RangeError(`${interfaceName} is the name of Podveil's own spare device: choose another interface name`)
  const hosts = hostTable(settings.routeTableRanges)
  const encryptsHosts = settings.hostEncryptionEnabled && hosts !== undefined
  return {
    interfaceName,
    listenPort: listeningPort,
    mtu: mtu === 0 ? automaticMtu(family, settings.mtuIfacePattern, links) : mtu,
    persistentKeepalive: settings.persistentKeepalive,
    rulePriority: settings.routingRulePriority,
    mark: wireguardMark(settings.markMask),
    tables: { ...meshTables(settings.routeTableRanges), ...(encryptsHosts && { hosts }) },
    hostTable: hosts,
    routeProtocol: settings.deviceRouteProtocol,
  }
}

/** The smallest MTU of the host's own interfaces less the tunnel's overhead. */
function automaticMtu(family: Family, pattern: RegExp, links: Iterable<HostLink>): number {
  let host = Number.POSITIVE_INFINITY
  for (const link of links) if (link.running && pattern.test(link.name)) host = Math.min(host, link.mtu)
  const mtu = (Number.isFinite(host) ? host : FALLBACK_HOST_MTU) - OVERHEAD[family]
  return family === 6 ? Math.max(mtu, IPV6_MINIMUM_MTU) : mtu
}
