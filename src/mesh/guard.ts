import { type Cidr, FAMILIES, type Family } from '#wg/ip.ts'
import type { KeyStorage } from './key-storage.ts'
import type { NodeName } from './node-record.ts'
import type { PeerSource } from './peer-source.ts'
import type { Stray } from './pod-ranges.ts'
import { ROTATION_DEFAULTS, type RotationSettings } from './rotation.ts'
import type { RouteSource } from './route-source.ts'

/** Whether pod packets may cross the underlay in clear: nobody looks, they are counted, they are dropped. */
export type GuardMode = 'off' | 'audit' | 'enforce'

/** PodveilConfiguration as it applies to this node. */
export interface PodveilSettings {
  readonly guard: GuardMode
  /** Nodes that the operator lets speak in clear. */
  readonly clearTextNodes: ReadonlySet<NodeName>
  /** What all pods of the cluster lie in, as far as the operator says. */
  readonly podSupernets: readonly Cidr[]
  /** Where WireGuard packets may come from beside the nodes' own addresses. */
  readonly natExceptions: readonly Cidr[]
  /** Where the private keys are kept. */
  readonly keyStorage: KeyStorage
  /** What says which pod addresses are on which node; undefined where nobody says. */
  readonly routeSource: RouteSource | undefined
  /** Whether it is found out how large a packet each path carries. */
  readonly pathMtuProbing: boolean
  /** What the other nodes are read from. */
  readonly peerSource: PeerSource
  readonly rotation: RotationSettings
  /** UDP ports of the spare devices, IPv4 and IPv6. */
  readonly spareListeningPort: number
  readonly spareListeningPortV6: number
}

export const PODVEIL_DEFAULTS: PodveilSettings = {
  guard: 'audit',
  clearTextNodes: new Set(),
  podSupernets: [],
  natExceptions: [],
  keyStorage: 'disk',
  routeSource: undefined,
  pathMtuProbing: true,
  peerSource: 'Nodes',
  rotation: ROTATION_DEFAULTS,
  spareListeningPort: 51822,
  spareListeningPortV6: 51823,
}

/** What the guard does, and what of the operator's wish it cannot do. */
export interface GuardDecision {
  readonly mode: GuardMode
  /** Families that stay encrypted although the switch says off. */
  readonly keepsOn: readonly Family[]
  /** Sentences for the operator. */
  readonly refusals: readonly string[]
}

/** How what Nodes say of their pods compares with what all pods are said to lie in. */
export interface PodPlaces {
  /** What holds the pods that there are, to be told where the operator has said nothing. */
  readonly around: readonly Cidr[]
  /** Pods that are in none of the supernets, one for each family that has any. */
  readonly strays: readonly Stray[]
}

/**
 * `enforce` is the operator's word that nothing may go in clear: while it stands a family that encrypts is not turned
 * off. Where nothing encrypts it would only cut the cluster apart, and counts instead; so it does where no pod supernet is
 * known, as what Nodes say leaves out a Node that is gone or to come. Nothing that a Node says opens it.
 * @param running families that this node encrypts now
 */
export function decideGuard(
  settings: PodveilSettings,
  enabled: Readonly<Record<Family, boolean>>,
  running: Readonly<Record<Family, boolean>>,
  { around, strays }: PodPlaces,
): GuardDecision {
  if (settings.guard !== 'enforce') return { mode: settings.guard, keepsOn: [], refusals: [] }
  const keepsOn = FAMILIES.filter(family => running[family] && !enabled[family])
  const refusals = keepsOn.map(
    family =>
      `IPv${family} encryption stays on: the guard is on enforce. Set guard to audit or off in PodveilConfiguration first, then turn encryption off`,
  )
  const encrypts = FAMILIES.some(family => enabled[family] || running[family])
  if (!encrypts)
    return {
      mode: 'audit',
      keepsOn,
      refusals: [...refusals, 'guard enforce needs encryption on: it only counts until then'],
    }
  if (settings.podSupernets.length === 0)
    return {
      mode: 'audit',
      keepsOn,
      refusals: [
        ...refusals,
        `guard enforce needs pod supernets: set podSupernets in PodveilConfiguration to all ranges of the cluster's pods${told(around)}; it only counts until then`,
      ],
    }
  return { mode: 'enforce', keepsOn, refusals: [...refusals, ...strays.map(strayRefusal)] }
}

const told = (around: readonly Cidr[]): string =>
  around.length === 0 ? '' : `, those of the Nodes lie in ${around.join(' and ')}`

const strayRefusal = ({ node, cidr }: Stray): string =>
  `guard enforce holds ${cidr} of ${node} closed only while that is a Node's: no range of podSupernets in PodveilConfiguration holds it. Add the one that it is of`

/** Nodes that have said that they steer to us: what still comes from them in clear is not theirs, or a leak. */
export type Armed = Readonly<Record<Family, ReadonlySet<NodeName>>>

/**
 * Who is armed in one family after a pass: who steers to us has armed itself. Under enforce nothing but its leaving the
 * cluster ends that, and what this node does not encrypt at all has no time of transition in which clear text would be right.
 * @param steering whether a node says that it steers to us
 * @param nodes that something may have changed for; each is decided for itself
 * @param takesPart whether the pair is accepting or encrypting
 * @returns the same object where nothing changes
 */
export function armedAfter(
  armed: ReadonlySet<NodeName>,
  steering: (node: NodeName) => boolean,
  nodes: Iterable<NodeName>,
  guard: { readonly mode: GuardMode; readonly enabled: boolean },
  takesPart: (node: NodeName) => boolean,
): ReadonlySet<NodeName> {
  let after: Set<NodeName> | undefined
  for (const node of nodes) {
    const isArmed =
      guard.mode === 'enforce'
        ? armed.has(node) || steering(node) || !guard.enabled
        : (armed.has(node) || steering(node)) && takesPart(node)
    if (isArmed === armed.has(node)) continue
    after ??= new Set(armed)
    if (isArmed) after.add(node)
    else after.delete(node)
  }
  return after ?? armed
}
