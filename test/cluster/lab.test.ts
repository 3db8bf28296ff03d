import { describe, expect, test } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import { waitFor } from '../lab/harness/wait-for.ts'
import { withLab } from '../lab/harness/with-lab.ts'
import { noRealApi } from './harness/real-api.ts'

const SWITCH_LIMIT_MS = 60_000

describe.skipIf(noRealApi)(`a lab on kube-apiserver${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  test('turns encryption on and off with agents that have only their own account', () =>
    withLab({ nodes: 3, api: 'real' }, async lab => {
      await lab.setEncryption(true)
      await untilAll(lab, 'encrypted')
      expect(await managersOf(lab)).toContain('podveil')
      await lab.setEncryption(false)
      await untilAll(lab, 'in clear')
    }))

  test('stays as it is while the API server is away, killed at that, and catches up with what it missed', () =>
    withLab({ nodes: 2, api: 'real' }, async lab => {
      await lab.setEncryption(true)
      await untilAll(lab, 'encrypted')
      await lab.api.stop('SIGKILL')
      expect(
        await lab.nodes[0]?.pod.exec(['ping', '-c', '3', '-i', '0.2', lab.nodes[1]?.pod.addresses[0] ?? '']),
      ).toMatchObject({
        status: 0,
      })
      await untilAll(lab, 'encrypted')
      await lab.api.start()
      await lab.setEncryption(false)
      await untilAll(lab, 'in clear')
    }))
})

const untilAll = (lab: Lab, what: 'encrypted' | 'in clear'): Promise<unknown> =>
  waitFor(
    async () => (await lab.steering()).every(pair => pair.encrypted === (what === 'encrypted')),
    SWITCH_LIMIT_MS,
    `all pairs to be ${what}`,
  )

/** Who wrote fields of the Nodes, as the server keeps the books. */
async function managersOf(lab: Lab): Promise<readonly string[]> {
  const { items } = (await lab.client.get('/api/v1/nodes')) as {
    items?: { metadata: { managedFields?: { manager: string }[] } }[]
  }
  return (items ?? []).flatMap(node => (node.metadata.managedFields ?? []).map(({ manager }) => manager))
}
