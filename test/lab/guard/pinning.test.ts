import { expect, test } from 'vitest'
import { annotations } from '#src/cluster/annotations.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { nodeOf, onNode, withMesh } from '../mesh/support/with-mesh.ts'
import { Attacker } from './support/attacker.ts'
import { annotate, counted, type GuardMode, guardOf, guardSpec, patchPodveil } from './support/cluster.ts'
import { tell } from './support/tell.ts'
import { rate } from './support/wire.ts'

/**
 * Node 1 is told that the key of node 2, which is as silent as a Felix node is, is one that somebody else has. Whoever
 * authenticates with a key takes its traffic to where he is: WireGuard roams.
 */
describeLab('a forged key, and an attacker elsewhere on the underlay who has it', meshNeeds, () => {
  test.each<{ guard: GuardMode; hijacks: boolean; outcome: string }>([
    { guard: 'enforce', hijacks: false, outcome: 'he gets no byte of what pods send to the forged node' },
    { guard: 'audit', hijacks: true, outcome: 'he gets the traffic, and is counted' },
    { guard: 'off', hijacks: true, outcome: 'control, he gets the traffic' },
  ])(
    'with the guard on $guard: $outcome',
    async ({ guard, hijacks }) => {
      await withMesh({ nodes: 2, families: '4' }, async lab => {
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        await two.agent.kill()
        await using attacker = await Attacker.join(lab)
        await patchPodveil(lab, guardSpec(guard))
        await annotate(lab, two, { [annotations.publicKey[4]]: attacker.publicKey })
        await lab.setEncryption(true)
        const victim = await waitFor(
          async () => /^\S{43}=$/.exec((await onNode(one, 'wg show wireguard.cali public-key')).trim())?.[0],
          limit(20_000),
          'node 1 to have a key',
        )
        await waitFor(
          async () => (await onNode(one, 'wg show wireguard.cali peers')).includes(attacker.publicKey),
          limit(20_000),
          'node 1 to believe the forged key',
        )
        await waitFor(async () => (await guardOf(one)) === guard, limit(20_000), `the guard to be ${guard}`)
        await lab.traffic.start({ rate })
        await attacker.attack(one, victim)

        const strangers = () => counted(one, ['in_strange_endpoint'])
        if (hijacks)
          await waitFor(async () => (await attacker.received()) > 0, limit(20_000), 'the attacker to receive')
        // He tries again every five seconds.
        else await waitFor(async () => (await strangers()) >= 2, limit(20_000), 'two handshakes to be refused')
        const [received, endpoints] = [await attacker.received(), await onNode(one, 'wg show wireguard.cali endpoints')]
        const counts = guard === 'off' ? undefined : await strangers()
        tell(`hijack with the guard on ${guard}`, { received, strangers: counts })
        if (guard === 'audit') expect(counts).toBeGreaterThan(0)
        if (hijacks) return
        expect(received).toBe(0)
        expect(endpoints).toContain(`${two.addresses[0]}:51820`)
      })
    },
    caseLimit(60),
  )
})
