import { projectNode } from '#src/cluster/node-record.ts'
import { openApi, readNodes } from '#src/status/sources/cluster.ts'
import type { Family } from '#wg/ip.ts'
import { Ends } from './ends.ts'
import { verifyPair } from './pair.ts'
import { ringOf, spotOf } from './places.ts'
import { type DirectionResult, type Verification, verdictOfAll } from './verdict.ts'
import { byKubectl, byTemplate } from './via.ts'

export interface VerifyOptions {
  /** FROM and TO; undefined is each node with the next one. */
  readonly ends: readonly [string, string] | undefined
  readonly kubeconfig: string | undefined
  /** Shell command that runs podveil on `{node}`; kubectl without. */
  readonly via: string | undefined
  readonly count: number
  readonly family: Family | undefined
  /** Is told what is being done, for a person who waits. */
  readonly tell?: (text: string) => void
}

/** @throws EndError, Error for ends that cannot be verified, CredentialsError, ApiError and its like */
export async function verify({ ends, kubeconfig, via, count, family, tell }: VerifyOptions): Promise<Verification> {
  const client = await openApi(kubeconfig)
  try {
    const nodes = (await readNodes(client)).flatMap(raw => projectNode(raw) ?? [])
    if (!ends && nodes.length < 2) throw new Error('there is one node: nothing leaves it')
    await using running = new Ends(async node =>
      via ? byTemplate(via, node) : await byKubectl(client, kubeconfig, node),
    )
    const directions: DirectionResult[] = []
    for (const pair of ends ? [ends] : ringOf(nodes)) {
      const [from, to] = await Promise.all([
        spotOf(pair[0], nodes, client, family),
        spotOf(pair[1], nodes, client, family),
      ])
      if (from.node === to.node) throw new Error(`${pair[0]} and ${pair[1]} are on one node: nothing leaves it`)
      tell?.(`between ${from.node.name} and ${to.node.name}`)
      const [fromEnd, toEnd] = [await running.on(from.node.name), await running.on(to.node.name)]
      const found = await verifyPair({ ...from, end: fromEnd }, { ...to, end: toEnd }, count)
      // The other one begins the next pair of the ring.
      await running.leave(from.node.name)
      if (found.length === 0) throw new Error(`${pair[0]} and ${pair[1]} have no IP family in common`)
      directions.push(...found)
    }
    return { verdict: verdictOfAll(directions), directions }
  } finally {
    client.close()
  }
}
