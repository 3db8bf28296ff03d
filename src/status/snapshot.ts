import { isObject, type JsonObject, listOf, member, messageOf, objectOf, textOf } from '#src/cluster/hostile.ts'
import type { Phase } from '#src/mesh/peer-machine.ts'
import type { Family } from '#wg/ip.ts'
import { type DesiredSnapshot, parseDesired } from './desired-snapshot.ts'

/** Its name in the state directory. */
export const SNAPSHOT_FILE = 'status.json'

/**
 * What an agent last knew, as it keeps it in its state directory for whoever asks on the node: also without the API, and
 * also when the agent is dead. People script against `--json`: members are added, never changed. Times are RFC 3339.
 */
export interface NodeSnapshot {
  readonly format: 1
  readonly podveil: string
  readonly node: string
  /** When this was written: at every change, and now and then without one. */
  readonly time: string
  readonly addresses: readonly string[]
  readonly podCidrs: readonly string[]
  readonly dataplane: 'kernel' | 'userspace' | null
  readonly settings: SnapshotSettings
  readonly guard: { readonly mode: string; readonly refusals: readonly string[] }
  /** Why the agent is not ready, a sentence each. */
  readonly troubles: readonly string[]
  /** Values of the configuration that were refused, a sentence each. */
  readonly refusedSettings: readonly string[]
  readonly families: readonly FamilySnapshot[]
  /** Foreign changes that were repaired, the newest last. */
  readonly repairs: { readonly total: number; readonly recent: readonly Repair[] }
}

/** Of FelixConfiguration, what decides where traffic goes. Names as Calico's. */
export interface SnapshotSettings {
  readonly wireguardEnabled: boolean
  readonly wireguardEnabledV6: boolean
  readonly wireguardRoutingRulePriority: number
  readonly routeSource: string
  /** What the other nodes are read from now; agents before MeshNodes did not say. */
  readonly peerSource?: string
}

export interface Repair {
  readonly time: string
  /** Null for what is of both. */
  readonly family: Family | null
  readonly what: string
}

export interface FamilySnapshot {
  readonly family: Family
  readonly enabled: boolean
  readonly interfaceName: string
  /** Null where nothing of this family is in the kernel. */
  readonly device: DeviceSnapshot | null
  readonly rulePriority: number
  readonly mark: number
  readonly tables: {
    readonly mesh: number
    readonly nodes: number
    readonly device: number
    /** Agents before this one had no spare device. */
    readonly spare?: number
    readonly hosts?: number
  }
  /** Every other node of the cluster. */
  readonly peers: readonly PeerSnapshot[]
  readonly refused: readonly { readonly node: string; readonly claim: string }[]
  /** What the kernel should hold; null for nothing, and from agents that did not say. */
  readonly desired: DesiredSnapshot | null
}

export interface DeviceSnapshot {
  readonly name: string
  readonly publicKey: string
  readonly port: number
  readonly address: string | null
  /** Bytes. */
  readonly mtu: number
}

export interface PeerSnapshot {
  readonly node: string
  readonly phase: Phase
  /** Since when it is in this phase. */
  readonly since: string
  readonly reason: string
  readonly publicKey: string | null
  /** A key that the node has announced since, which has not proven itself. */
  readonly candidate: string | null
  readonly addresses: readonly string[]
  readonly podCidrs: readonly string[]
  readonly endpoint: string | null
  /** Null for never. */
  readonly latestHandshake: string | null
  readonly rxBytes: number
  readonly txBytes: number
  readonly allowedIps: readonly string[]
  /** Destinations that are routed into the tunnel to it. */
  readonly steered: readonly string[]
  /** Since when what is sent is not answered; null while it is. */
  readonly silentSince: string | null
  /** What the agents' echoes through the tunnel say; null for not known: an idle pair, or an agent that knows no echoes. */
  readonly echo: EchoSnapshot | null
  /** Bytes, where the path drops what the tunnel's MTU allows, and the routes have this one; null where none was found to. */
  readonly pathMtu: number | null
}

/** Of the last five minutes. */
export interface EchoSnapshot {
  /** Median; null while no echo is answered. */
  readonly roundTripSeconds: number | null
  /** Part of the echoes that had no answer, 0 to 1. */
  readonly loss: number
}

/** Milliseconds. An agent writes at least every minute: one that has not for longer does not run, or is stuck. */
export const STALE = 90_000

/** As a snapshot has it. @param nanoseconds Unix time, 0n for never */
export const handshakeTime = (nanoseconds: bigint): string | null =>
  nanoseconds === 0n ? null : new Date(Number(nanoseconds / 1_000_000n)).toISOString()

export class SnapshotFormatError extends Error {
  override readonly name = 'SnapshotFormatError'
  readonly code = 'ERR_SNAPSHOT_FORMAT'
}

const LONGEST = 4_096
const PHASES: readonly string[] = ['absent', 'accepting', 'encrypting', 'lingering'] satisfies Phase[]

/** @throws SnapshotFormatError */
export function parseSnapshot(json: string): NodeSnapshot {
  let raw: unknown
  try {
    raw = JSON.parse(json)
  } catch {
    throw new SnapshotFormatError('is not JSON, or cut short')
  }
  const snapshot = objectOf(raw)
  if (member(snapshot, 'format') !== 1) throw new SnapshotFormatError('is of another version of Podveil')
  const settings = objectOf(member(snapshot, 'settings'))
  const repairs = objectOf(member(snapshot, 'repairs'))
  const guard = objectOf(member(snapshot, 'guard'))
  const dataplane = member(snapshot, 'dataplane')
  return {
    format: 1,
    podveil: text(snapshot, 'podveil'),
    node: text(snapshot, 'node'),
    time: time(snapshot, 'time'),
    addresses: texts(snapshot, 'addresses'),
    podCidrs: texts(snapshot, 'podCidrs'),
    dataplane: dataplane === 'kernel' || dataplane === 'userspace' ? dataplane : null,
    settings: {
      wireguardEnabled: member(settings, 'wireguardEnabled') === true,
      wireguardEnabledV6: member(settings, 'wireguardEnabledV6') === true,
      wireguardRoutingRulePriority: number(settings, 'wireguardRoutingRulePriority'),
      routeSource: text(settings, 'routeSource'),
      ...(typeof member(settings, 'peerSource') === 'string' && { peerSource: text(settings, 'peerSource') }),
    },
    guard: { mode: text(guard, 'mode'), refusals: texts(guard, 'refusals') },
    troubles: texts(snapshot, 'troubles'),
    refusedSettings: texts(snapshot, 'refusedSettings'),
    families: objects(snapshot, 'families').map(parseFamily),
    repairs: {
      total: number(repairs, 'total'),
      recent: objects(repairs, 'recent').map(repair => ({
        time: time(repair, 'time'),
        family: member(repair, 'family') === null ? null : family(repair),
        what: text(repair, 'what'),
      })),
    },
  }
}

function parseFamily(raw: JsonObject): FamilySnapshot {
  const tables = objectOf(member(raw, 'tables'))
  const device = member(raw, 'device')
  return {
    family: family(raw),
    enabled: member(raw, 'enabled') === true,
    interfaceName: text(raw, 'interfaceName'),
    device: isObject(device) ? parseDevice(device) : null,
    rulePriority: number(raw, 'rulePriority'),
    mark: number(raw, 'mark'),
    tables: {
      mesh: number(tables, 'mesh'),
      nodes: number(tables, 'nodes'),
      device: number(tables, 'device'),
      ...(typeof member(tables, 'spare') === 'number' && { spare: number(tables, 'spare') }),
      ...(typeof member(tables, 'hosts') === 'number' && { hosts: number(tables, 'hosts') }),
    },
    peers: objects(raw, 'peers').map(parsePeer),
    refused: objects(raw, 'refused').map(one => ({ node: text(one, 'node'), claim: text(one, 'claim') })),
    desired: desiredOf(member(raw, 'desired')),
  }
}

function desiredOf(raw: unknown): DesiredSnapshot | null {
  try {
    return parseDesired(raw)
  } catch (error) {
    throw new SnapshotFormatError(messageOf(error))
  }
}

const parseDevice = (raw: JsonObject): DeviceSnapshot => ({
  name: text(raw, 'name'),
  publicKey: text(raw, 'publicKey'),
  port: number(raw, 'port'),
  address: maybe(raw, 'address'),
  mtu: number(raw, 'mtu'),
})

function parsePeer(raw: JsonObject): PeerSnapshot {
  const phase = text(raw, 'phase')
  if (!PHASES.includes(phase)) throw new SnapshotFormatError(`knows no phase ${JSON.stringify(phase)}`)
  return {
    node: text(raw, 'node'),
    phase: phase as Phase,
    since: time(raw, 'since'),
    reason: text(raw, 'reason'),
    publicKey: maybe(raw, 'publicKey'),
    candidate: maybe(raw, 'candidate'),
    addresses: texts(raw, 'addresses'),
    podCidrs: texts(raw, 'podCidrs'),
    endpoint: maybe(raw, 'endpoint'),
    latestHandshake: maybe(raw, 'latestHandshake'),
    rxBytes: number(raw, 'rxBytes'),
    txBytes: number(raw, 'txBytes'),
    allowedIps: texts(raw, 'allowedIps'),
    steered: texts(raw, 'steered'),
    silentSince: maybe(raw, 'silentSince'),
    echo: parseEcho(member(raw, 'echo')),
    // Agents before this one asked no path.
    pathMtu: (member(raw, 'pathMtu') ?? null) === null ? null : number(raw, 'pathMtu'),
  }
}

/** Agents before this one measured nothing. */
function parseEcho(raw: unknown): EchoSnapshot | null {
  if (!isObject(raw)) return null
  const roundTrip = member(raw, 'roundTripSeconds')
  return { roundTripSeconds: typeof roundTrip === 'number' ? roundTrip : null, loss: number(raw, 'loss') }
}

function text(object: JsonObject, name: string): string {
  const value = textOf(member(object, name), LONGEST)
  if (value === undefined) throw new SnapshotFormatError(`has no usable ${name}`)
  return value
}

const maybe = (object: JsonObject, name: string): string | null => textOf(member(object, name), LONGEST) ?? null

function time(object: JsonObject, name: string): string {
  const value = text(object, name)
  if (Number.isNaN(Date.parse(value))) throw new SnapshotFormatError(`has no time in ${name}`)
  return value
}

function number(object: JsonObject, name: string): number {
  const value = member(object, name)
  if (typeof value !== 'number' || !(value >= 0)) throw new SnapshotFormatError(`has no usable ${name}`)
  return value
}

function family(object: JsonObject): Family {
  const value = member(object, 'family')
  if (value !== 4 && value !== 6) throw new SnapshotFormatError('has a family that is neither 4 nor 6')
  return value
}

const texts = (object: JsonObject, name: string): string[] =>
  listOf(member(object, name)).map(value => {
    const found = textOf(value, LONGEST)
    if (found === undefined) throw new SnapshotFormatError(`has something else than text in ${name}`)
    return found
  })

const objects = (object: JsonObject, name: string): JsonObject[] => listOf(member(object, name)).map(objectOf)
