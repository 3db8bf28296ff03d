import type { Route } from '#wg/rtnetlink/route.ts'
import type { Rule } from '#wg/rtnetlink/rule.ts'

/** As `ip rule` has it. */
export function ruleText({
  priority,
  invert,
  source,
  destination,
  iif,
  oif,
  fwmark,
  fwmask,
  action,
  table,
}: Rule): string {
  const mark =
    fwmark === undefined && fwmask === undefined
      ? ''
      : ` fwmark 0x${(fwmark ?? 0).toString(16)}/0x${(fwmask ?? 0).toString(16)}`
  const to = destination ? ` to ${destination}` : ''
  const interfaces = `${iif ? ` iif ${iif}` : ''}${oif ? ` oif ${oif}` : ''}`
  return `${priority}: ${invert ? 'not ' : ''}from ${source ?? 'all'}${to}${mark}${interfaces} ${action}${action === 'lookup' ? ` ${table}` : ''}`
}

/** As `ip route` has it. @param links names by index */
export function routeText(
  { destination, gateway, device, table, type, mtu }: Route,
  links: ReadonlyMap<number, string>,
): string {
  const via = gateway ? ` via ${gateway}` : ''
  const name = device === undefined ? '' : ` dev ${links.get(device) ?? `#${device}`}`
  return `${type === 'unicast' ? '' : `${type} `}${destination}${via}${name} table ${table}${mtu === undefined ? '' : ` mtu ${mtu}`}`
}
