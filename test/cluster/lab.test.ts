import { copyFileSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Lab } from '#src/lab/lab.ts'
import { LabFiles } from '#src/lab/state.ts'
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

  test('stays as it is while agents do not know the authority of a new certificate, and catches up when it is on disk', () =>
    withLab({ nodes: 2, api: 'real' }, async lab => {
      await lab.setEncryption(true)
      await untilAll(lab, 'encrypted')
      const files = new LabFiles(lab.name)
      await lab.api.stop('SIGKILL')
      rmSync(dirname(files.apiCa), { recursive: true })
      await lab.api.start()
      // With the authority of now, as an operator who has replaced it.
      await Lab.open(lab.name).setEncryption(false)
      for (const { name, agent } of lab.nodes)
        await waitFor(
          () => agent.logs().includes('certificate is not signed by the CA that is configured'),
          SWITCH_LIMIT_MS,
          `the agent of ${name} to refuse the certificate`,
        )
      await untilAll(lab, 'encrypted')
      for (const { name } of lab.nodes)
        copyFileSync(files.apiCa, files.node(name, 'run', 'secrets/kubernetes.io/serviceaccount/ca.crt'))
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
