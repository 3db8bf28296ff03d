import { type Explanation, HOSTS_IN_CLEAR, type Place } from './explain.ts'
import { mentionOf } from './graph.ts'
import type { MeshStatus } from './mesh-status.ts'

/** Who began a connection, and whether the tunnel answers, no node publishes. */
const BOTH_ENCRYPT =
  'both nodes encrypt what they send each other, but for answers to what was begun in clear and while their tunnel is silent: ask on the node'

/** What is known beside the states of the nodes. */
export interface Beside {
  /** What it rests on that could not be read, a sentence each. */
  readonly doubts?: readonly string[]
  /** Nodes that say that they encrypt what they send themselves, in the family that is asked about. */
  readonly encryptingHosts?: ReadonlySet<string>
}

/**
 * The same from anywhere, by what the nodes publish: whether, and why not; what the kernel decides is seen on the node alone.
 */
export function explainFromMesh(
  from: Place,
  to: Place,
  { nodes }: MeshStatus,
  { doubts = [], encryptingHosts = new Set() }: Beside = {},
): Explanation {
  const answer = (verdict: Explanation['verdict'], because: string, steps: Explanation['steps'] = []): Explanation => ({
    from,
    to,
    verdict,
    because,
    steps,
    caveats: [
      ...doubts,
      ...(from.node
        ? [`this is what the nodes publish; on ${from.node} the same command shows the route, the rule and the peer`]
        : []),
    ],
  })
  if (!from.node || !to.node)
    return answer(
      'in-clear',
      `${from.node ? to.address : from.address} is of no node of the mesh: Podveil encrypts between nodes`,
    )
  if (from.node === to.node) return answer('same-node', 'both ends are on one node: it never leaves it')
  if (from.kind === 'node' && to.kind === 'node')
    return [from.node, to.node].every(name => encryptingHosts.has(name))
      ? answer('unknown', BOTH_ENCRYPT)
      : answer('in-clear', HOSTS_IN_CLEAR)
  const [here, there] = [from.node, to.node].map(name => nodes.find(node => node.name === name))
  const steps = [here, there].flatMap(node =>
    node
      ? [
          {
            what: node.name,
            detail: [node.state, node.peers === null ? '' : `${node.encryptedPeers} of ${node.peers} peers`, node.why]
              .filter(text => text !== '')
              .join(', '),
          },
        ]
      : [],
  )
  if (!here || !there) return answer('unknown', 'its Node is not there', steps)
  if (here.state === 'off') return answer('in-clear', 'encryption is off', steps)
  const reason = reasonFor(here.why, to.node)
  if (reason !== undefined) return answer('in-clear', reason, steps)
  if (here.state === 'encrypted')
    return answer('encrypted', `${here.name} says that it encrypts to all of its peers`, steps)
  if (mentionOf(here.why, to.node)?.state === 'not answering')
    return answer(
      'encrypted',
      `${here.name} sends it through the tunnel, and ${there.name} does not answer: it is lost, not readable`,
      steps,
    )
  if (here.encryptedPeers === null) return answer('unknown', here.why, steps)
  if (/ and \d+ more/.test(here.why))
    return answer('unknown', `${here.name} names only some of those that it does not encrypt to`, steps)
  return answer(
    'encrypted',
    `${here.name} names all that it does not encrypt to, and ${there.name} is not one of them`,
    steps,
  )
}

/** Silence is not clear text. */
function reasonFor(why: string, node: string): string | undefined {
  const named = mentionOf(why, node)
  if (!named || named.state === 'not answering') return undefined
  return `${named.state === 'turning' ? 'joining' : named.state}: ${named.why}`
}
