import type { PublicKey } from '#keys/public-key.ts'
import type { PeerChange, PeerStatus } from '../device/device.ts'
import { type Cidr, type Endpoint, sameEndpoint } from '../ip.ts'
import { sameSet } from '../same-set.ts'
import { atOnce } from '../slices.ts'
import { Follower } from '../table.ts'
import type { DesiredPeer } from './desired.ts'

/** Changes to peers, split by what must come before traffic is moved and what may only come after. */
export interface PeerOperations {
  /** New peers, new prefixes, endpoints: before routes point at them. */
  readonly additions: readonly PeerChange[]
  /** Prefixes and peers that nothing points at any more. */
  readonly removals: readonly PeerChange[]
}

interface Compared extends PeerOperations {
  /** Peers that were looked at, and have the prefixes that they must have. */
  readonly settled: readonly PublicKey[]
}

/**
 * The smallest changes that turn what the device holds into what is desired. A prefix that another desired peer takes is
 * only added there: the kernel moves it, and no moment is without an owner.
 * @param written the endpoint last written for each key: a learned one is not a difference
 */
export function diffPeers(
  desired: ReadonlyMap<PublicKey, DesiredPeer>,
  actual: ReadonlyMap<PublicKey, PeerStatus>,
  written: ReadonlyMap<PublicKey, Endpoint>,
): PeerOperations {
  const all = new Set([...desired.keys(), ...actual.keys()])
  const { additions, removals } = atOnce(compare(desired, actual, written, all))
  return { additions, removals }
}

/** @param looked keys of the peers that are looked at; all others are known to agree */
function* compare(
  desired: ReadonlyMap<PublicKey, DesiredPeer>,
  actual: ReadonlyMap<PublicKey, PeerStatus>,
  written: ReadonlyMap<PublicKey, Endpoint>,
  looked: ReadonlySet<PublicKey>,
): Generator<undefined, Compared> {
  const additions: PeerChange[] = []
  const removals: PeerChange[] = []
  const settled: PublicKey[] = []
  const takers = new Set<Cidr>()
  for (const publicKey of looked) {
    yield
    const [want, have] = [desired.get(publicKey), actual.get(publicKey)]
    if (!want) continue
    const change = have ? changeOf(want, have, written.get(publicKey)) : newPeer(want)
    for (const cidr of change?.addAllowedIps ?? []) takers.add(cidr)
    if (change) additions.push({ kind: 'set', publicKey, ...change })
  }
  for (const publicKey of looked) {
    yield
    const [want, have] = [desired.get(publicKey), actual.get(publicKey)]
    if (!have) continue
    if (!want) {
      removals.push({ kind: 'remove', publicKey })
      continue
    }
    if (sameSet(want.allowedIps, have.allowedIps)) {
      settled.push(publicKey)
      continue
    }
    const surplus = [...have.allowedIps].filter(cidr => !want.allowedIps.has(cidr))
    const removeAllowedIps = surplus.filter(cidr => !takers.has(cidr))
    if (removeAllowedIps.length > 0) removals.push({ kind: 'set', publicKey, updateOnly: true, removeAllowedIps })
  }
  return { additions, removals, settled }
}

/** Remembers what was compared, so that a look costs what has changed since the one before. */
export class PeerDifferences {
  readonly #desired = new Follower<PublicKey>()
  readonly #actual = new Follower<PublicKey>()

  /** What diffPeers() says, in steps. What is then written changes what there is, and is looked at once more. */
  find(
    desired: ReadonlyMap<PublicKey, DesiredPeer>,
    actual: ReadonlyMap<PublicKey, PeerStatus>,
    written: ReadonlyMap<PublicKey, Endpoint>,
  ): Generator<undefined, Compared> {
    const [wanted, seen] = [this.#desired.take(desired), this.#actual.take(actual)]
    const looked = wanted && seen ? wanted.union(seen) : new Set([...desired.keys(), ...actual.keys()])
    return compare(desired, actual, written, looked)
  }
}

type PeerFields = Omit<Extract<PeerChange, { kind: 'set' }>, 'kind' | 'publicKey'>

function newPeer(want: DesiredPeer): PeerFields {
  return {
    ...(want.endpoint && { endpoint: want.endpoint }),
    ...(want.persistentKeepalive > 0 && { persistentKeepalive: want.persistentKeepalive }),
    addAllowedIps: [...want.allowedIps],
  }
}

function changeOf(want: DesiredPeer, have: PeerStatus, written: Endpoint | undefined): PeerFields | undefined {
  const addAllowedIps = [...want.allowedIps].filter(cidr => !have.allowedIps.has(cidr))
  const endpoint = endpointToWrite(want, have.endpoint, written)
  const keepalive = want.persistentKeepalive !== have.persistentKeepalive
  if (addAllowedIps.length === 0 && !endpoint && !keepalive) return undefined
  return {
    updateOnly: true,
    ...(endpoint && { endpoint }),
    ...(keepalive && { persistentKeepalive: want.persistentKeepalive }),
    ...(addAllowedIps.length > 0 && { addAllowedIps }),
  }
}

/** Written when the plan names another than before, when there is none, or when it strayed from the node's addresses. */
function endpointToWrite(
  { endpoint, mayRoamTo }: DesiredPeer,
  actual: Endpoint | undefined,
  written: Endpoint | undefined,
): Endpoint | undefined {
  if (!endpoint || sameEndpoint(endpoint, actual)) return undefined
  if (mayRoamTo === 'anywhere') return actual ? undefined : endpoint
  if (!actual || !mayRoamTo.includes(actual.address)) return endpoint
  return written && !sameEndpoint(endpoint, written) ? endpoint : undefined
}
