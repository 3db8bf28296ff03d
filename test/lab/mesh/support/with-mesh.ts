import type { Lab, LabNode, LabOptions } from '#src/lab/lab.ts'
import type { Steering } from '#src/lab/steering.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { withLab } from '../../harness/with-lab.ts'
import { limit, profile } from './profile.ts'

/** A lab whose agents are all ready, with encryption off; removed whatever happens. */
export async function withMesh<T>(options: LabOptions, use: (lab: Lab) => Promise<T>): Promise<T> {
  return await withLab({ dataplane: profile.dataplane, ...options }, async lab => {
    await allReady(lab)
    return await use(lab)
  })
}

/** The same with every pair encrypted. */
export async function withEncryptedMesh<T>(options: LabOptions, use: (lab: Lab) => Promise<T>): Promise<T> {
  return await withMesh(options, async lab => {
    await turnOn(lab)
    return await use(lab)
  })
}

export const allReady = (lab: Lab): Promise<unknown> =>
  Promise.all(lab.nodes.map(node => node.agent.ready(limit(60_000))))

export async function turnOn(lab: Lab): Promise<void> {
  await lab.setEncryption(true)
  await untilEncrypted(lab)
}

/** Returns when nothing is steered any more; what lingers is still there. */
export async function turnOff(lab: Lab): Promise<void> {
  await lab.setEncryption(false)
  await untilClear(lab)
}

/** Every pod of the lab sends to every other one by its tunnel. */
export const untilEncrypted = (lab: Lab, limitMs = limit(30_000)): Promise<unknown> =>
  untilEvery(lab, one => one.encrypted, limitMs, 'every pair to be encrypted')

export const untilClear = (lab: Lab, limitMs = limit(30_000)): Promise<unknown> =>
  untilEvery(lab, one => !one.encrypted && one.device !== undefined, limitMs, 'every pair to be in clear')

/** These nodes encrypt to each other, whatever the others do. */
export async function untilPairEncrypted(lab: Lab, pods: readonly string[]): Promise<void> {
  const holds = async () => {
    const pairs = (await lab.steering()).filter(one => pods.includes(one.source) && pods.includes(one.destination))
    return pairs.length > 0 && pairs.every(one => one.encrypted)
  }
  await waitFor(holds, limit(30_000), `${pods.join(' and ')} to be encrypted`)
}

async function untilEvery(
  lab: Lab,
  holds: (one: Steering) => boolean,
  limitMs: number,
  what: string,
): Promise<unknown> {
  const look = async () => {
    const others = (await lab.steering()).filter(one => !holds(one))
    if (others.length === 0) return true
    const shown = others.slice(0, 6).map(one => `${one.source} to ${one.destination} IPv${one.family} by ${one.device}`)
    throw new Error(`${others.length} are not: ${shown.join(', ')}`)
  }
  return await waitFor(look, limitMs, what)
}

/** @param index from 1, as in the node's name */
export function nodeOf(lab: Lab, index: number): LabNode {
  const node = lab.nodes[index - 1]
  if (!node) throw new RangeError(`lab ${lab.name} has no node ${index}`)
  return node
}

/** Runs a shell's script on a node. @returns what it printed @throws Error when it failed */
export async function onNode(node: LabNode, script: string): Promise<string> {
  const { status, stdout, stderr } = await node.exec(['sh', '-ec', script])
  if (status !== 0) throw new Error(`${node.name}: ${script}: ended with ${status}: ${stderr}`)
  return stdout
}
