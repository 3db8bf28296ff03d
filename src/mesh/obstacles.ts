import type { PublicKey } from '#keys/public-key.ts'
import type { Family } from '#wg/ip.ts'
import type { Others } from '#wg/reconcile/desired.ts'
import type { FamilyConfig } from './family-view.ts'
import type { NodeRecord } from './node-record.ts'

/** What of this node's kernel is somebody else's, as far as it may be in the way. */
export interface Surroundings extends Others {
  readonly family: Family
  readonly config: FamilyConfig
  readonly own: NodeRecord | undefined
  readonly ownKey: PublicKey | undefined
  /** Key of the device of our name; undefined where there is none. */
  readonly deviceKey: PublicKey | undefined
  /** Names of all links of the host. */
  readonly links: ReadonlySet<string>
}

/** Felix's names of the devices, unless it is told others. */
const FELIX_DEVICES: Readonly<Record<Family, string>> = { 4: 'wireguard.cali', 6: 'wg-v6.cali' }
const FELIX_SWITCH: Readonly<Record<Family, string>> = { 4: 'FELIX_WIREGUARDENABLED', 6: 'FELIX_WIREGUARDENABLEDV6' }

/**
 * Why nothing may be touched, before anything has been: what is there already is somebody else's.
 * @returns one sentence with the remedy, undefined where the way is free
 */
export function obstacle(surroundings: Surroundings): string | undefined {
  return felix(surroundings) ?? takenTable(surroundings)
}

/**
 * Felix's own WireGuard publishes the key of its device on the same Node, and takes away what it does not know. A key that
 * is ours, or that a Podveil agent has published, is not Felix's.
 */
function felix({ family, config, own, ownKey, deviceKey, links }: Surroundings): string | undefined {
  const announced = own?.announced[family]
  if (!announced || announced.hello !== undefined || announced.publicKey === ownKey) return undefined
  const device = FELIX_DEVICES[family]
  const onOurs = deviceKey === announced.publicKey
  if (!onOurs && !(config.interfaceName !== device && links.has(device))) return undefined
  return `Felix encrypts IPv${family} on this node itself (${onOurs ? config.interfaceName : device}): set ${FELIX_SWITCH[family]}=false in the environment of calico-node, which beats FelixConfiguration; until then this node is left to Felix`
}

function takenTable({ family, config, routes }: Surroundings): string | undefined {
  const [route] = routes
  if (!route) return undefined
  const { mesh, nodes, device, spare } = config.tables
  return `IPv${family} table ${route.table} is in use: it has ${route.words}. Leave ${mesh}, ${nodes}, ${device} and ${spare} to Podveil, or choose others with routeTableRanges in FelixConfiguration`
}

/** What is left alone and may take packets from the mesh, a sentence each. */
export function rivals({ family, config, rules }: Pick<Surroundings, 'family' | 'config' | 'rules'>): string[] {
  const { rulePriority, mark } = config
  return rules.flatMap(rule => {
    const words = `IPv${family}: somebody else has the rule ${rule.words}`
    if (Math.abs(rule.priority - rulePriority) <= 1)
      return [
        `${words}, at a priority of ours: choose another one with wireguardRoutingRulePriority in FelixConfiguration`,
      ]
    // Only one that our own packets would match.
    if (!rule.invert && (rule.fwmark & mark) !== 0)
      return [
        `${words}, which looks at our mark 0x${mark.toString(16)}: choose other bits with iptablesMarkMask in FelixConfiguration`,
      ]
    return []
  })
}
