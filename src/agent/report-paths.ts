import type { NodeEvent } from '#src/cluster/node-events.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { Family } from '#wg/ip.ts'

/** Peers whose path carries less than the tunnel's MTU, with what it carries, bytes. */
export type SmallerPaths = ReadonlyMap<NodeName, number>

/** More at once are told in one Event: behind one router there may be many nodes. */
const MOST_EACH = 3

/**
 * What was found of the paths of one family between two looks.
 * @param known whether anything is known of the path to a peer: of one that is gone nothing was found
 */
export function pathEvents(
  family: Family,
  before: SmallerPaths,
  after: SmallerPaths,
  known: (node: NodeName) => boolean,
): NodeEvent[] {
  if (before === after) return []
  const smaller = [...after].filter(([node, mtu]) => before.get(node) !== mtu)
  const whole = [...before.keys()].filter(node => !after.has(node) && known(node))
  const [first] = smaller
  return [
    ...(smaller.length > MOST_EACH && first
      ? [
          reduced(
            `${smaller.length} nodes, ${first[0]} among them,`,
            family,
            Math.min(...smaller.map(([, mtu]) => mtu)),
          ),
        ]
      : smaller.map(([node, mtu]) => reduced(node, family, mtu))),
    ...(whole.length > MOST_EACH
      ? [restored(`${whole.length} nodes, ${whole[0]} among them,`, family)]
      : whole.map(node => restored(node, family))),
  ]
}

const reduced = (who: string, family: Family, mtu: number): NodeEvent => ({
  type: 'Warning',
  reason: 'PathMTUReduced',
  message: `the path to ${who} (IPv${family}) drops packets that the tunnel’s MTU allows, without a word: routes to it have an MTU of ${mtu} now`,
})

const restored = (who: string, family: Family): NodeEvent => ({
  type: 'Normal',
  reason: 'PathMTURestored',
  message: `routes to ${who} (IPv${family}) have the tunnel’s MTU again`,
})
