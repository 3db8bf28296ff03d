import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { events } from '../cli/podveil.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { startFelix, stopFelix } from './support/felix.ts'
import { limit, meshNeeds } from './support/profile.ts'
import { nodeOf, onNode, turnOn, untilEncrypted, withMesh } from './support/with-mesh.ts'

/** Returns when the agent says that it cannot go on, in these words. */
const untilRefused = (node: LabNode, words: RegExp): Promise<unknown> =>
  waitFor(
    async () => words.test((await node.agent.http('/readyz')).body),
    limit(15_000),
    `${node.name} to say ${words}`,
  )

const untilTold = (lab: Lab, words: RegExp): Promise<unknown> =>
  waitFor(async () => (await events(lab)).some(event => words.test(event)), limit(15_000), `an Event ${words}`)

describeLab('beside others on the node', meshNeeds, () => {
  test('a table that somebody uses is left alone until it is free', async () => {
    await withMesh({ nodes: 2, families: '4' }, async lab => {
      const one = nodeOf(lab, 1)
      await onNode(one, 'ip route add 10.99.0.0/16 dev eth0 table 2')
      await lab.setEncryption(true)
      await untilRefused(one, /table 2 is in use.*routeTableRanges/)
      expect(await onNode(one, 'ip route show table 2')).toContain('10.99.0.0/16')
      expect(await onNode(one, 'ip rule')).not.toContain('fwmark')
      await onNode(one, 'ip route del 10.99.0.0/16 dev eth0 table 2')
      await untilEncrypted(lab)
    })
  })

  test('Felix that encrypts on the node itself keeps its device until it is told not to', async () => {
    await withMesh({ nodes: 2, families: '4' }, async lab => {
      const one = nodeOf(lab, 1)
      await startFelix(lab, one)
      const key = await onNode(one, 'wg show wireguard.cali public-key')
      await lab.setEncryption(true)
      await untilRefused(one, /FELIX_WIREGUARDENABLED=false/)
      expect(await onNode(one, 'wg show wireguard.cali public-key')).toBe(key)
      await stopFelix(lab, one)
      await untilEncrypted(lab)
      expect(await onNode(one, 'wg show wireguard.cali public-key')).not.toBe(key)
    })
  })

  test('a rule at our priority is left alone and told, and the mesh goes on', async () => {
    await withMesh({ nodes: 2, families: '4' }, async lab => {
      const one = nodeOf(lab, 1)
      await onNode(one, 'ip rule add pref 100 to 10.99.0.0/16 lookup main')
      await turnOn(lab)
      await untilTold(lab, /node-1 ConfigurationRefused .*priority of ours.*wireguardRoutingRulePriority/)
      expect(await onNode(one, 'ip rule show pref 100')).toContain('10.99.0.0/16')
    })
  })
})
