import type { PublicKey } from '#keys/public-key.ts'
import type { PeerChange, PeerStatus } from '../device/device.ts'
import { type Cidr, type Endpoint, sameEndpoint } from '../ip.ts'
import type { DesiredPeer } from './desired.ts'

/** Changes to peers, split by what must come before traffic is moved and what may only come after. */
export interface PeerOperations {
  /** New peers, new prefixes, endpoints: before routes point at them. */
  readonly additions: readonly PeerChange[]
  /** Prefixes and peers that nothing points at any more. */
  readonly removals: readonly PeerChange[]
}

/**
 * The smallest changes that turn what the device holds into what is desired. A prefix that another desired peer takes is
 * only added there: the kernel moves it, and no moment is without an owner.
 * @param written the endpoint last written for each key: a learned one is not a difference
 * @param settled pairs of objects that were found to agree before, and need no second look; more are noted there
 */
export function diffPeers(
  desired: ReadonlyMap<PublicKey, DesiredPeer>,
  actual: ReadonlyMap<PublicKey, PeerStatus>,
  written: ReadonlyMap<PublicKey, Endpoint>,
  settled = new WeakMap<DesiredPeer, PeerStatus>(),
): PeerOperations {
  const additions: PeerChange[] = []
  const removals: PeerChange[] = []
  const takers = new Set<Cidr>()
  for (const [publicKey, want] of desired) {
    const have = actual.get(publicKey)
    if (have && settled.get(want) === have) continue
    const change = have ? changeOf(want, have, written.get(publicKey)) : newPeer(want)
    for (const cidr of change?.addAllowedIps ?? []) takers.add(cidr)
    if (change) additions.push({ kind: 'set', publicKey, ...change })
  }
  for (const [publicKey, have] of actual) {
    const want = desired.get(publicKey)
    if (!want) {
      removals.push({ kind: 'remove', publicKey })
      continue
    }
    if (settled.get(want) === have) continue
    const surplus = [...have.allowedIps].filter(cidr => !want.allowedIps.has(cidr))
    if (surplus.length === 0 && !changeOf(want, have, written.get(publicKey))) settled.set(want, have)
    const removeAllowedIps = surplus.filter(cidr => !takers.has(cidr))
    if (removeAllowedIps.length > 0) removals.push({ kind: 'set', publicKey, updateOnly: true, removeAllowedIps })
  }
  return { additions, removals }
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
  if (!actual || !mayRoamTo.has(actual.address)) return endpoint
  return written && !sameEndpoint(endpoint, written) ? endpoint : undefined
}
