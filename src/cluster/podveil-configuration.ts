import { type GuardMode, PODVEIL_DEFAULTS, type PodveilSettings } from '#src/mesh/guard.ts'
import { KEY_STORAGES, type KeyStorage } from '#src/mesh/key-storage.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { PEER_SOURCES, type PeerSource } from '#src/mesh/peer-source.ts'
import { ROUTE_SOURCES, type RouteSource } from '#src/mesh/route-source.ts'
import { type Cidr, parseCidr } from '#wg/ip.ts'
import { durationSeconds } from './felix-values.ts'
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
  const read = <T>(field: string, parse: (value: unknown) => T, fallback: T, last: T, among = layers): T => {
    const [group, leaf] = field.includes('.') ? field.split('.') : ['', field]
    const valueIn = ({ spec }: PodveilLayer) => member(group ? objectOf(member(spec, group)) : spec, leaf ?? '')
    const layer = among.findLast(one => (valueIn(one) ?? undefined) !== undefined)
    if (!layer) return fallback
    const value = valueIn(layer)
    try {
      return parse(value)
    } catch (error) {
      faults.push(`${layer.source}: ${field} ${quote(value)} ${messageOf(error)}; the last good value stays`)
      return last
    }
  }
  // Whoever asks for new keys gets them: what was asked of one node does not undo what was asked of all.
  const latest = (field: string, last: number | undefined): number | undefined => {
    const times = layers.map(layer => read(field, parseTime, undefined, last, [layer]))
    const known = times.filter(time => time !== undefined)
    return known.length > 0 ? Math.max(...known) : undefined
  }
  const { guard, clearTextNodes, podSupernets, natExceptions, rotation, ...others } = PODVEIL_DEFAULTS
  const { keyStorage, routeSource, peerSource, pathMtuProbing, spareListeningPort, spareListeningPortV6 } = others
  const last = lastGood.rotation
  return {
    settings: {
      guard: read('guard', parseMode, guard, lastGood.guard),
      clearTextNodes: read('clearTextNodes', parseNames, clearTextNodes, lastGood.clearTextNodes),
      podSupernets: read('podSupernets', parseCidrs, podSupernets, lastGood.podSupernets),
      natExceptions: read('natExceptions', parseCidrs, natExceptions, lastGood.natExceptions),
      keyStorage: read('keyStorage', parseKeyStorage, keyStorage, lastGood.keyStorage),
      routeSource: read('routeSource', parseRouteSource, routeSource, lastGood.routeSource),
      pathMtuProbing: read('pathMtuProbing', parseSwitch, pathMtuProbing, lastGood.pathMtuProbing),
      peerSource: read('peerSource', parsePeerSource, peerSource, lastGood.peerSource),
      rotation: {
        interval: read('rotation.interval', parseDuration, rotation.interval, last.interval),
        notBefore: latest('rotation.notBefore', last.notBefore),
        compromised: latest('rotation.compromised', last.compromised),
        patience: read('rotation.patience', parseDuration, rotation.patience, last.patience),
      },
      spareListeningPort: read('spareListeningPort', parsePort, spareListeningPort, lastGood.spareListeningPort),
      spareListeningPortV6: read(
        'spareListeningPortV6',
        parsePort,
        spareListeningPortV6,
        lastGood.spareListeningPortV6,
      ),
    },
    faults,
  }
}

function parseMode(value: unknown): GuardMode {
  if (typeof value === 'string' && MODES.includes(value)) return value as GuardMode
  throw new RangeError('is not off, audit or enforce')
}

function parseKeyStorage(value: unknown): KeyStorage {
  const storage = KEY_STORAGES.find(one => one === value)
  if (storage === undefined) throw new RangeError(`is not one of ${KEY_STORAGES.join(', ')}`)
  return storage
}

function parseRouteSource(value: unknown): RouteSource {
  const source = ROUTE_SOURCES.find(one => one === value)
  if (source === undefined) throw new RangeError(`is not one of ${ROUTE_SOURCES.join(', ')}`)
  return source
}

function parseSwitch(value: unknown): boolean {
  if (typeof value === 'boolean') return value
  throw new RangeError('is neither true nor false')
}

function parsePeerSource(value: unknown): PeerSource {
  const source = PEER_SOURCES.find(one => one === value)
  if (source === undefined) throw new RangeError(`is not one of ${PEER_SOURCES.join(', ')}`)
  return source
}

/** @returns milliseconds */
function parseDuration(value: unknown): number {
  const seconds = typeof value === 'string' ? durationSeconds(value) : Number.NaN
  if (Number.isNaN(seconds)) throw new RangeError('is not a duration such as 720h')
  return seconds * 1_000
}

/** @returns Unix milliseconds */
function parseTime(value: unknown): number {
  // RFC 3339, as the API writes times.
  const time = typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value) ? Date.parse(value) : Number.NaN
  if (Number.isNaN(time)) throw new RangeError('is not a time such as 2026-01-31T12:00:00Z')
  return time
}

function parsePort(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535) return value
  throw new RangeError('is not a port: 1 to 65535')
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
