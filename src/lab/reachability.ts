import PQueue from 'p-queue'
import { familyOf, type IpAddress } from '#wg/ip.ts'
import { runIn } from './namespaces.ts'
import type { LabPlan } from './plan.ts'

/** One direction of a matrix: who could not reach whom. */
export interface Unreachable {
  readonly from: string
  readonly to: string
  readonly address: IpAddress
  /** What ping said, in one line. */
  readonly why: string
}

export interface ReachabilityOptions {
  /** Bytes of ICMP payload, sent with fragmentation forbidden. Default 56. */
  readonly size?: number
  /** How long one answer may take, in seconds. Default 3. */
  readonly waitSeconds?: number
}

/**
 * Sends one echo request from each pod to each pod and each node, and from each node to each pod.
 * @returns what was not answered, and how many were tried
 */
export async function checkReachability(
  plan: LabPlan,
  options: ReachabilityOptions = {},
): Promise<{ readonly tried: number; readonly unreachable: readonly Unreachable[] }> {
  const trials = plan.nodes.flatMap(source =>
    plan.nodes.flatMap(target => [
      ...target.podAddresses.map(address => trial(source.podName, source.podNamespace, target.podName, address)),
      ...target.addresses.map(address => trial(source.podName, source.podNamespace, target.name, address)),
      ...target.podAddresses.map(address => trial(source.name, source.namespace, target.podName, address)),
    ]),
  )
  const queue = new PQueue({ concurrency: 16 })
  const results = await queue.addAll(trials.map(one => () => ping(one, options)))
  return { tried: trials.length, unreachable: results.flatMap(result => result ?? []) }
}

interface Trial {
  readonly from: string
  readonly namespace: string
  readonly to: string
  readonly address: IpAddress
}

const trial = (from: string, namespace: string, to: string, address: IpAddress): Trial => ({
  from,
  namespace,
  to,
  address,
})

async function ping(
  { from, namespace, to, address }: Trial,
  options: ReachabilityOptions,
): Promise<Unreachable | undefined> {
  const family = familyOf(address) === 6 ? '-6' : '-4'
  const command = ['ping', family, '-n', '-q', '-c', '1', '-M', 'do', '-s', String(options.size ?? 56)]
  const { status, stdout, stderr } = await runIn(namespace, [
    ...command,
    '-W',
    String(options.waitSeconds ?? 3),
    address,
  ])
  if (status === 0) return undefined
  const why = stderr.trim().split('\n', 1)[0] || /^.*packet loss.*$/m.exec(stdout)?.[0] || `ping ended with ${status}`
  return { from, to, address, why }
}
