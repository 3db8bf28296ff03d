import { type GuardMode, PODVEIL_DEFAULTS, type PodveilSettings } from '#src/mesh/guard.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { ROUTE_SOURCES, type RouteSource } from '#src/mesh/route-source.ts'
import { type Cidr, parseCidr } from '#wg/ip.ts'
import { type JsonObject, listOf, member, messageOf, objectOf, quote, textOf } from './hostile.ts'

/** The spec of one PodveilConfiguration, as it was written. */
export interface PodveilLayer {
  readonly source: string
  readonly spec: JsonObject
}

export interface ResolvedPodveilSettings {
  readonly settings: PodveilSettings
  /** One sentence for each value that was refused; the last good value stays. */
  readonly faults: readonly string[]
}

const MODES: readonly string[] = ['off', 'audit', 'enforce'] satisfies GuardMode[]

/** @returns undefined for one that is neither `default` nor a node's */
export function projectPodveilConfiguration(raw: unknown): PodveilLayer | undefined {
  const name = textOf(member(objectOf(member(objectOf(raw), 'metadata')), 'name'), 253)
  if (!name || (name !== 'default' && !name.startsWith('node.'))) return undefined
  return { source: `PodveilConfiguration ${name}`, spec: objectOf(member(objectOf(raw), 'spec')) }
}

/** Settings from layers, weakest first, field by field. */
export function resolvePodveilSettings(
  layers: readonly PodveilLayer[],
  lastGood: PodveilSettings = PODVEIL_DEFAULTS,
): ResolvedPodveilSettings {
  const faults: string[] = []
  const read = <T>(field: keyof PodveilSettings, parse: (value: unknown) => T, fallback: T, last: T): T => {
    const layer = layers.findLast(({ spec }) => (member(spec, field) ?? undefined) !== undefined)
    if (!layer) return fallback
    const value = member(layer.spec, field)
    try {
      return parse(value)
    } catch (error) {
      faults.push(`${layer.source}: ${field} ${quote(value)} ${messageOf(error)}; the last good value stays`)
      return last
    }
  }
  const { guard, clearTextNodes, podSupernets, natExceptions, routeSource } = PODVEIL_DEFAULTS
  return {
    settings: {
      guard: read('guard', parseMode, guard, lastGood.guard),
      clearTextNodes: read('clearTextNodes', parseNames, clearTextNodes, lastGood.clearTextNodes),
      podSupernets: read('podSupernets', parseCidrs, podSupernets, lastGood.podSupernets),
      natExceptions: read('natExceptions', parseCidrs, natExceptions, lastGood.natExceptions),
      routeSource: read('routeSource', parseRouteSource, routeSource, lastGood.routeSource),
    },
    faults,
  }
}

function parseMode(value: unknown): GuardMode {
  if (typeof value === 'string' && MODES.includes(value)) return value as GuardMode
  throw new RangeError('is not off, audit or enforce')
}

function parseRouteSource(value: unknown): RouteSource {
  const source = ROUTE_SOURCES.find(one => one === value)
  if (source === undefined) throw new RangeError(`is not one of ${ROUTE_SOURCES.join(', ')}`)
  return source
}

function parseNames(value: unknown): ReadonlySet<NodeName> {
  if (!Array.isArray(value)) throw new RangeError('is not a list of names')
  return new Set(
    listOf(value).map(name => {
      if (typeof name !== 'string' || name === '' || name.length > 253) throw new RangeError('is not a list of names')
      return name as NodeName
    }),
  )
}

function parseCidrs(value: unknown): readonly Cidr[] {
  if (!Array.isArray(value)) throw new RangeError('is not a list of CIDRs')
  return listOf(value).map(cidr => {
    if (typeof cidr !== 'string') throw new RangeError('is not a list of CIDRs')
    return parseCidr(cidr)
  })
}
