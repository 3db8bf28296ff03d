import { expect, test } from 'vitest'
import { events } from '../cli/podveil.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { AgentLog } from '../mesh/support/agent-log.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { nodeOf, onNode, untilClear, withMesh } from '../mesh/support/with-mesh.ts'
import { ClearFrames } from './support/clear-frames.ts'
import {
  counted,
  guardOf,
  guardSpec,
  INWARDS,
  keptGuardedMesh,
  OUTWARDS,
  patchPodveil,
  setGuard,
  withGuardedMesh,
} from './support/cluster.ts'
import { tell } from './support/tell.ts'
import { rate, trafficFor, untilAllArrives, watchWire } from './support/wire.ts'

const withGuarded = keptGuardedMesh()

const DELETE_RULES = 'ip -4 rule del priority 99; ip -6 rule del priority 99'

describeLab('the guard on audit', meshNeeds, () => {
  test(
    'counts at both ends what crosses in clear, packet by packet, and drops nothing',
    async () => {
      await withGuarded('audit', async (lab, one, two) => {
        // Both: what one agent says to another that is gone, that node's kernel refuses, in clear once the rules are.
        for (const node of [one, two]) await node.agent.kill()
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        const wire = await watchWire(lab)
        await onNode(one, DELETE_RULES)
        await trafficFor(lab, 2)
        const report = await lab.traffic.stop()
        const { clear } = await wire()
        const [out, arrived] = [await counted(one, OUTWARDS), await counted(two, INWARDS)]
        tell('audit', { sent: report.sent, lost: report.lost, clear, out, arrived })
        expect(clear).toBeGreaterThan(0)
        expect(report.lost).toBe(0)
        expect(out).toBe(clear)
        expect(arrived).toBe(clear)
      })
    },
    caseLimit(60),
  )

  test(
    'blames no peer while encryption is being turned on, and counts nothing once it is',
    async () => {
      await withMesh({ nodes: 2 }, async lab => {
        await patchPodveil(lab, { guard: 'audit' })
        await lab.traffic.start({ rate })
        await lab.setEncryption(true)
        await untilAllArrives(lab)
        const wire = await trafficFor(lab, 1)
        expect(wire).toMatchObject({ clear: 0 })
        for (const node of lab.nodes) expect(await counted(node, INWARDS)).toBe(0)
        const before = await Promise.all(lab.nodes.map(node => counted(node, OUTWARDS)))
        await trafficFor(lab, 1)
        expect(await Promise.all(lab.nodes.map(node => counted(node, OUTWARDS)))).toEqual(before)
      })
    },
    caseLimit(60),
  )
})

describeLab('the guard on off', meshNeeds, () => {
  test(
    'takes its chains and counters away, and leaves the rest of the table',
    async () => {
      await withGuarded('enforce', async lab => {
        await setGuard(lab, 'off')
        for (const node of lab.nodes) {
          const table = await onNode(node, 'nft list table inet podveil')
          expect(table).not.toMatch(/chain guard_|counter \w+ \{/)
          expect(table).toContain('chain into_tunnel')
        }
      })
    },
    caseLimit(60),
  )
})

describeLab('the guard on enforce', meshNeeds, () => {
  test(
    'refuses to turn encryption off, says how to, and lets it once the guard is off',
    async () => {
      await withGuarded('enforce', async lab => {
        const logs = lab.nodes.map(node => new AgentLog(node))
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        await using frames = await ClearFrames.start(lab)
        const refused = await watchWire(lab)
        await lab.setEncryption(false)
        for (const log of logs)
          await log.says(
            /encryption stays on: the guard is on enforce\. Set guard to audit or off in PodveilConfiguration/,
          )
        await trafficFor(lab, 2)
        await untilAllArrives(lab)
        const wire = await refused()
        tell('turning off is refused', { wire })
        expect(wire.clear, frames.text).toBe(0)
        expect(wire.tunnelled).toBeGreaterThan(0)

        await setGuard(lab, 'audit')
        await untilClear(lab)
        await waitFor(async () => (await trafficFor(lab, 0.5)).clear > 0, limit(10_000), 'traffic in clear')
      })
    },
    caseLimit(60),
  )

  test(
    'refuses to let one node opt out, with an Event that says how to, and lets it once the guard is on audit',
    async () => {
      await withGuardedMesh({ guard: 'enforce' }, async (lab, one) => {
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        await using frames = await ClearFrames.start(lab)
        const refused = await watchWire(lab)
        await lab.patchFelix({ wireguardEnabled: false, wireguardEnabledV6: false }, `node.${one.name}`)
        for (const family of [4, 6])
          await waitFor(
            async () =>
              (await events(lab)).some(event =>
                event.startsWith(
                  `${one.name} GuardNotEnforced IPv${family} encryption stays on: the guard is on enforce. Set guard to audit or off in PodveilConfiguration`,
                ),
              ),
            limit(20_000),
            `an Event of ${one.name} of IPv${family}`,
          )
        await trafficFor(lab, 2)
        await untilAllArrives(lab)
        const wire = await refused()
        tell('opting out is refused', { wire })
        expect(wire.clear, frames.text).toBe(0)
        expect(wire.tunnelled).toBeGreaterThan(0)

        await setGuard(lab, 'audit')
        await untilClear(lab)
        await waitFor(async () => (await trafficFor(lab, 0.5)).clear > 0, limit(10_000), 'traffic in clear')
      })
    },
    caseLimit(60),
  )

  test(
    'stands by its refusal when an agent restarts, and when a Node’s annotations are removed meanwhile',
    async () => {
      await withGuarded('enforce', async (lab, one, two) => {
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        await using frames = await ClearFrames.start(lab)
        const wire = await watchWire(lab)
        await lab.setEncryption(false)
        await one.agent.restart('SIGKILL')
        await one.agent.ready(limit(30_000))
        const stripped = {
          'projectcalico.org/WireguardPublicKey': null,
          'projectcalico.org/WireguardPublicKeyV6': null,
        }
        await lab.client.mergePatch(`/api/v1/nodes/${two.name}`, { metadata: { annotations: stripped } })
        await trafficFor(lab, 2)
        const { clear, tunnelled } = await wire()
        tell('turned off, restarted, stripped', { clear, tunnelled })
        expect(clear, frames.text).toBe(0)
        expect(await guardOf(two)).toBe('enforce')
      })
    },
    caseLimit(60),
  )

  test(
    'lets every node reach the API server in both families, with the tunnel gone and neighbours forgotten',
    async () => {
      await withGuarded('enforce', async (lab, one) => {
        await one.agent.kill()
        await onNode(
          one,
          'ip link del wireguard.cali; ip link del wg-v6.cali; ip -4 neigh flush all; ip -6 neigh flush all',
        )
        for (const address of lab.plan.switchAddresses)
          await onNode(one, `timeout 10 bash -c 'exec 3<> /dev/tcp/${address}/6443'`)
        await one.agent.start()
        await one.agent.ready(limit(30_000))
      })
    },
    caseLimit(60),
  )

  test(
    'lets neighbours be found: traffic that starts after it arrives, in both families',
    async () => {
      await withGuarded('enforce', async lab => {
        for (const node of lab.nodes) await onNode(node, 'ip -4 neigh flush all; ip -6 neigh flush all')
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        const { pairs } = await lab.traffic.stop()
        for (const pair of pairs) expect(pair.received, `${pair.source} IPv${pair.family}`).toBeGreaterThan(0)
      })
    },
    caseLimit(60),
  )

  test(
    'keeps what comes in clear from a pod that must encrypt from reaching a local pod, also when the other end has no guard',
    async () => {
      await withGuarded('enforce', async (lab, one, two) => {
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        await one.agent.kill()
        await onNode(one, `nft delete table inet podveil; ${DELETE_RULES}`)
        // What was on its way before the rules went still arrives.
        const before = await waitFor(
          async () => (await trafficFor(lab, 0.2)).clear > 0 && (await counted(two, INWARDS)),
          limit(10_000),
          'traffic in clear',
        )
        const wire = await trafficFor(lab, 1)
        const { received, clear } = wire
        const dropped = (await counted(two, INWARDS)) - before
        tell('one end without a guard', { wire, dropped })
        expect(clear).toBeGreaterThan(0)
        expect(dropped).toBeGreaterThanOrEqual(clear * 0.9)
        // The other direction alone.
        expect(received).toBeLessThanOrEqual(wire.sent * 0.6)
      })
    },
    caseLimit(60),
  )
})

describeLab('clearTextNodes', meshNeeds, () => {
  test.each([
    { listed: true, outcome: 'is spoken to in clear when it is listed' },
    { listed: false, outcome: 'control, hears nothing when it is not listed' },
  ])(
    'a node that does not encrypt $outcome, and the others stay encrypted',
    async ({ listed }) => {
      await withMesh({ nodes: 3 }, async lab => {
        const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
        await lab.patchFelix({ wireguardEnabled: false, wireguardEnabledV6: false }, `node.${three.name}`)
        await lab.setEncryption(true)
        await patchPodveil(lab, { ...guardSpec('enforce'), ...(listed && { clearTextNodes: [three.name] }) })
        for (const node of [one, two])
          await waitFor(async () => (await guardOf(node)) === 'enforce', limit(20_000), `${node.name} to enforce`)
        await waitFor(
          async () =>
            (await lab.steering()).every(
              ({ source, destination, encrypted }) =>
                encrypted === (source !== three.pod.name && destination !== three.pod.name),
            ),
          limit(30_000),
          'the first two nodes to encrypt to each other',
        )
        await lab.traffic.start({ rate: rate / 2 })
        await waitFor(async () => (await lab.traffic.snapshot()).sent > rate * 3, limit(20_000), 'some traffic')
        const { pairs } = await lab.traffic.stop()
        const withThree = pairs.filter(pair => [pair.source, pair.destination].includes(three.pod.name))
        const others = pairs.filter(pair => !withThree.includes(pair))
        const sum = (some: typeof pairs, field: 'sent' | 'lost') => some.reduce((total, pair) => total + pair[field], 0)
        tell(`clearTextNodes ${listed ? 'lists it' : 'is empty'}`, {
          ...{ sent: sum(withThree, 'sent'), lost: sum(withThree, 'lost') },
          ...{ others: sum(others, 'sent'), lostOfOthers: sum(others, 'lost') },
        })
        expect(sum(others, 'lost')).toBe(0)
        if (listed) {
          expect(sum(withThree, 'lost')).toBe(0)
          return
        }
        for (const pair of withThree.filter(one => one.destination === three.pod.name))
          expect(pair.received, `${pair.source} IPv${pair.family}`).toBe(0)
        // A node that never said that it encrypts is not held to it inwards; what it sends is counted.
        expect(await counted(one, ['in_unarmed'])).toBeGreaterThan(0)
      })
    },
    caseLimit(60),
  )
})
