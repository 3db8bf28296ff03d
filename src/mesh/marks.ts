import type { Family } from '#wg/ip.ts'
import type { MeshTables } from './family-view.ts'
import type { FelixSettings } from './settings.ts'

/**
 * The bit that Felix marks WireGuard's own packets with: the sixth of the mask, after accept, pass, drop and two scratch
 * bits (0x200000 of 0xffff0000, since Calico 3.30). A shorter mask gives its highest bit.
 * @throws RangeError for a mask without bits
 */
export function wireguardMark(markMask: number): number {
  const bits = Array.from({ length: 32 }, (_, bit) => 2 ** bit).filter(bit => (markMask & bit) !== 0)
  const mark = bits[5] ?? bits.at(-1)
  if (mark === undefined) throw new RangeError('the mark mask has no bits: set iptablesMarkMask to at least one bit')
  return mark
}

/** local, main and default: nobody's to take. */
const RESERVED_TABLES = new Set([253, 254, 255])

/**
 * The four lowest free tables of the ranges; the first is the one that Felix would take.
 * @throws RangeError where the ranges have fewer
 */
export function meshTables(ranges: FelixSettings['routeTableRanges']): MeshTables {
  const [mesh, nodes, device, spare] = freeTables(ranges)
  if (mesh === undefined || nodes === undefined || device === undefined || spare === undefined)
    throw new RangeError('routeTableRanges has fewer than four usable tables: widen it, 1-250 is the default')
  return { mesh, nodes, device, spare }
}

/** The fifth, which is there for host encryption alone; undefined where the ranges have fewer. */
export const hostTable = (ranges: FelixSettings['routeTableRanges']): number | undefined => freeTables(ranges)[4]

function freeTables(ranges: FelixSettings['routeTableRanges']): readonly number[] {
  const free: number[] = []
  for (const { min, max } of ranges)
    for (let table = min; table <= max && free.length < 5; table++)
      if (!RESERVED_TABLES.has(table) && !free.includes(table)) free.push(table)
  return free
}

/** Names of the spare devices. */
export const SPARE_DEVICES: Readonly<Record<Family, string>> = { 4: 'wg-spare.cali', 6: 'wg-spare6.cali' }

/** Bytes that WireGuard adds around a packet: outer IP, UDP, type and counter, authentication tag. */
export const OVERHEAD = { 4: 60, 6: 80 } as const

/** IPv6 cannot be carried below this (RFC 8200, section 5). */
export const IPV6_MINIMUM_MTU = 1280
