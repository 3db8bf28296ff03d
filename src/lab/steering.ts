import { type Family, familyOf, type IpAddress } from '#wg/ip.ts'
import type { LabPlan, NodePlan } from './plan.ts'
import { run } from './run.ts'
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
  const commands = questions.map(({ address }) => `route get ${address} ${fromPodOf(node, address)}\n`)
  // Where there is no way, it says so on standard error, and goes on.
  const { stdout } = await run(['ip', '-o', '-n', node.namespace, '-force', '-batch', '-'], {
    input: commands.join(''),
  })
  const devices = new Map(
    stdout.split('\n').map(line => [line.split(' ', 1)[0] ?? '', /\bdev (\S+)/.exec(line)?.[1]] as const),
  )
  return questions.map(({ other, address }) => {
    const device = devices.get(address)
    const encrypted = device !== undefined && device !== UPLINK && device !== POD_LINK && device !== 'lo'
    return { source: node.podName, destination: other.podName, family: familyOf(address), device, encrypted }
  })
}

const fromPodOf = (node: NodePlan, like: IpAddress): string =>
  `from ${node.podAddresses.find(address => familyOf(address) === familyOf(like))} iif ${POD_LINK}`
