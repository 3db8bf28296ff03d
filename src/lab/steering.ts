import { type Family, familyOf, type IpAddress } from '#wg/ip.ts'
import { runIn } from './namespaces.ts'
import type { LabPlan, NodePlan } from './plan.ts'
import { POD_LINK, UPLINK } from './topology.ts'

/** Where a node's kernel would send what its pod sends to another pod. */
export interface Steering {
  readonly source: string
  readonly destination: string
  readonly family: Family
  /** The interface; undefined when there is no way, or the way is to drop. */
  readonly device: string | undefined
  /** By an interface that is neither the underlay nor local, which is the tunnel. */
  readonly encrypted: boolean
}

/**
 * Asks each node's routing, rules and marks included, about the pods of all others: the kernel's own word on which pairs
 * are encrypted.
 */
export async function readSteering(plan: LabPlan): Promise<Steering[]> {
  const answers = await Promise.all(plan.nodes.map(node => steeringOf(plan, node)))
  return answers.flat()
}

async function steeringOf(plan: LabPlan, node: NodePlan): Promise<Steering[]> {
  const questions = plan.nodes
    .filter(other => other.index !== node.index)
    .flatMap(other => other.podAddresses.map(address => ({ other, address })))
  const script = questions.map(({ address }) => `ip -o route get ${address} ${fromPodOf(node, address)} || echo none`)
  const { stdout } = await runIn(node.namespace, ['sh'], { input: `exec 2>&1\n${script.join('\n')}\n` })
  const lines = stdout.split('\n').filter(line => line !== '' && !line.startsWith('RTNETLINK'))
  return questions.map(({ other, address }, i) => {
    const device = /\bdev (\S+)/.exec(lines[i] ?? '')?.[1]
    const encrypted = device !== undefined && device !== UPLINK && device !== POD_LINK && device !== 'lo'
    return { source: node.podName, destination: other.podName, family: familyOf(address), device, encrypted }
  })
}

const fromPodOf = (node: NodePlan, like: IpAddress): string =>
  `from ${node.podAddresses.find(address => familyOf(address) === familyOf(like))} iif ${POD_LINK}`
