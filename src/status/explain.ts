import { type Cidr, cidrContains, type Family, familyOf, formatEndpoint, type IpAddress, prefixLength } from '#wg/ip.ts'
import type { AskedRoute } from './asked-route.ts'
import { duration } from './format.ts'
import { routeText, ruleText } from './kernel-text.ts'
import { type NodeKernel, tunnelAt } from './node-kernel.ts'
import { lookUp, type RouteDecision } from './route-lookup.ts'
import type { FamilySnapshot, NodeSnapshot, PeerSnapshot } from './snapshot.ts'

/** RT_TABLE_LOCAL of linux/rtnetlink.h. */
const LOCAL_TABLE = 255

export const HOSTS_IN_CLEAR =
  'traffic between nodes themselves is encrypted only where both have wireguardHostEncryptionEnabled; what has a pod at an end is in any case'

/** One end of what is to be explained. */
export interface Place {
  readonly address: IpAddress
  /** As it was asked for: a pod, a node, an address. */
  readonly label: string
  /** Undefined where no node owns the address. */
  readonly node: string | undefined
  readonly kind: 'pod' | 'node' | 'outside'
}

export interface Explanation {
  readonly from: Place
  readonly to: Place
  readonly verdict: 'encrypted' | 'in-clear' | 'same-node' | 'unreachable' | 'unknown'
  /** One sentence. */
  readonly because: string
  /** What decided, in the order in which it did: a word for what it is, and how it reads. */
  readonly steps: readonly { readonly what: string; readonly detail: string }[]
  readonly caveats: readonly string[]
}

/** Whose address it is, by what this node's agent knows. */
export function placeOf(address: IpAddress, label: string, snapshot: NodeSnapshot): Place {
  const owners = [
    { node: snapshot.node, addresses: snapshot.addresses, podCidrs: snapshot.podCidrs },
    ...snapshot.families.flatMap(({ peers }) => peers),
  ]
  const node = owners.find(({ addresses }) => addresses.includes(address))
  if (node) return { address, label, node: node.node, kind: 'node' }
  // A borrowed address lies in another node's block.
  const around = owners.flatMap(owner => owner.podCidrs.map(cidr => ({ owner, cidr: cidr as Cidr })))
  const [longest] = around
    .filter(({ cidr }) => cidrContains(cidr, address))
    .sort((a, b) => prefixLength(b.cidr) - prefixLength(a.cidr))
  const pods = longest?.owner
  return pods ? { address, label, node: pods.node, kind: 'pod' } : { address, label, node: undefined, kind: 'outside' }
}

/**
 * The way of a packet that leaves this node, as its kernel would send it now.
 * @param now Unix time in milliseconds
 * @param asked what the kernel itself says; without, it is worked out from its rules and routes
 */
export function explainHere(
  from: Place,
  to: Place,
  snapshot: NodeSnapshot,
  kernel: NodeKernel,
  now: number,
  asked?: AskedRoute,
): Explanation {
  const family = familyOf(to.address)
  if (to.node === snapshot.node)
    return {
      from,
      to,
      verdict: 'same-node',
      because: 'both ends are on this node: it never leaves it',
      steps: [],
      caveats: [],
    }
  const { rules, routes } = kernel.families[family]
  const told = snapshot.families.find(one => one.family === family)
  const worked = lookUp({ from: from.address, to: to.address, local: from.kind === 'node' }, rules, routes)
  const { decision, doubts } = asked ? believe(asked, worked) : { decision: worked, doubts: [] }
  const { rule, route } = decision
  const steps = [
    // That the address is none of this host's own goes without saying.
    ...decision.passedOver
      .filter(({ rule }) => rule.table !== LOCAL_TABLE)
      .map(({ rule, route }) => ({
        what: 'passed over',
        detail: `${ruleText(rule)}: ${route ? `table ${rule.table} says ${route.type} ${route.destination}` : `nothing in table ${rule.table}`}`,
      })),
    ...(rule ? [{ what: 'rule', detail: ruleText(rule) }] : []),
    ...(route ? [{ what: 'route', detail: routeText(route, kernel.links) }] : []),
    ...(asked ? [{ what: 'kernel', detail: askedText(asked) }] : []),
  ]
  const caveats = [
    ...doubts,
    ...(asked && asked.as !== 'unplaced' ? [] : decision.unjudged).map(
      one => `not judged, because it looks at more than addresses: ${ruleText(one)}`,
    ),
    ...(to.node
      ? [`this is one direction: \`podveil explain ${to.label} ${from.label}\` on ${to.node} shows the other`]
      : []),
  ]
  const config = told ? configStep(told, snapshot) : []
  if (!route || route.device === undefined)
    return {
      from,
      to,
      verdict: 'unreachable',
      because: asked?.refused ?? (route ? `the route says ${route.type}` : 'no route leads there'),
      steps,
      caveats,
    }
  const peer = told && to.node ? told.peers.find(({ node }) => node === to.node) : undefined
  const tunnel = tunnelAt(kernel.families[family], route.device)
  if (!tunnel) {
    const why = whyClear(to, told, peer, snapshot)
    return {
      from,
      to,
      verdict: 'in-clear',
      because: why,
      steps: [...steps, ...peerStep(peer, now), ...config],
      caveats,
    }
  }
  const { link, device } = tunnel
  const holder = [...(device?.peers.values() ?? [])]
    .flatMap(held => [...held.allowedIps].map(cidr => ({ held, cidr })))
    .filter(({ cidr }) => cidrContains(cidr, to.address))
    .sort((a, b) => prefixLength(b.cidr) - prefixLength(a.cidr))[0]
  if (!holder)
    return {
      from,
      to,
      verdict: 'unreachable',
      because: `${link.name} has no peer for ${to.address}: WireGuard drops it`,
      steps: [...steps, ...config],
      caveats,
    }
  const { held, cidr } = holder
  const name =
    told?.peers.find(({ publicKey }) => publicKey === held.publicKey)?.node ?? '(a peer that the agent does not know)'
  const endpoint = held.endpoint ? formatEndpoint(held.endpoint) : 'no endpoint yet'
  const age =
    held.latestHandshake === 0n
      ? 'no handshake yet'
      : `handshake ${duration(now - Number(held.latestHandshake / 1_000_000n))} ago`
  return {
    from,
    to,
    verdict: 'encrypted',
    because: `it goes into ${link.name}, to ${name} at ${endpoint}`,
    steps: [
      ...steps,
      { what: 'peer', detail: `${name} holds ${cidr}, key ${held.publicKey}, ${endpoint}, ${age}` },
      ...peerStep(peer, now),
      ...config,
    ],
    caveats:
      name === to.node || !to.node ? caveats : [`${to.address} is of ${to.node}, and goes to ${name}`, ...caveats],
  }
}

/** The kernel is believed; where the rules and routes that were read lead elsewhere, they do not explain why. */
function believe(
  { route, refused }: AskedRoute,
  worked: RouteDecision,
): { readonly decision: RouteDecision; readonly doubts: readonly string[] } {
  const same =
    worked.route?.table === route?.table &&
    worked.route?.destination === route?.destination &&
    worked.route?.device === route?.device
  if (same || refused !== undefined) return { decision: { ...worked, route }, doubts: [] }
  const doubts = [
    'the kernel decides otherwise than its rules and routes read: they look at more, or have just changed',
  ]
  return { decision: { ...worked, rule: undefined, passedOver: [], route }, doubts }
}

function askedText({ as, device, refused }: AskedRoute): string {
  const how =
    as === 'sent'
      ? 'sent by this node itself'
      : as === 'forwarded'
        ? `come in by ${device ?? '?'}`
        : 'from no device of its own'
  return refused === undefined ? `says so itself, of a packet ${how}` : `drops a packet ${how}: ${refused}`
}

const peerStep = (peer: PeerSnapshot | undefined, now: number): Explanation['steps'] =>
  peer
    ? [
        {
          what: 'agent',
          detail: `${peer.node} is ${peer.phase} for ${duration(now - Date.parse(peer.since))}: ${peer.reason}`,
        },
      ]
    : []

function configStep(family: FamilySnapshot, { settings, guard }: NodeSnapshot): Explanation['steps'] {
  const name = family.family === 4 ? 'wireguardEnabled' : 'wireguardEnabledV6'
  const detail = `${name} ${settings[name]}, wireguardRoutingRulePriority ${family.rulePriority}, tables ${Object.values(family.tables).join(' ')}, guard ${guard.mode}`
  return [{ what: 'configuration', detail }]
}

function whyClear(
  to: Place,
  family: FamilySnapshot | undefined,
  peer: PeerSnapshot | undefined,
  snapshot: NodeSnapshot,
): string {
  const held = snapshot.guard.mode === 'enforce' && to.kind === 'pod' ? '; the guard drops it' : ''
  if (!family?.enabled) return 'encryption is off on this node'
  if (to.kind === 'outside') return 'the address is of no node of the mesh: Podveil encrypts between nodes'
  if (to.kind === 'node' && peer?.phase === 'encrypting') return HOSTS_IN_CLEAR
  if (peer?.phase === 'encrypting')
    return `${peer.node} is ready, and the kernel does not send it into the tunnel: podveil diagnose says what is missing${held}`
  return `${peer?.reason ?? 'the agent knows nothing of its node'}${held}`
}

/** Addresses of both ends in a family that they share. @param wanted that of the caller, where he says one */
export function commonFamily(
  from: readonly IpAddress[],
  to: readonly IpAddress[],
  wanted: Family | undefined,
): readonly [IpAddress, IpAddress] | undefined {
  for (const family of wanted ? [wanted] : ([4, 6] as const)) {
    const ends = [from, to].map(addresses => addresses.find(address => familyOf(address) === family))
    if (ends[0] && ends[1]) return [ends[0], ends[1]]
  }
  return undefined
}
