import { expect, test } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import type { ReachabilityOptions } from '#src/lab/reachability.ts'
import { clearPodFrames, underlayDelta, wireguardFrames } from '#src/lab/underlay-watch.ts'
import { describeLab } from '../harness/requirements.ts'
import { keptMesh } from './support/kept-mesh.ts'
import { limit, meshNeeds, profile } from './support/profile.ts'
import { nodeOf, onNode, withEncryptedMesh, withMesh } from './support/with-mesh.ts'

/** An echo request takes longest when it is first of its pair and the machine is busy. */
const PATIENT: ReachabilityOptions = { waitSeconds: limit(5_000) / 1_000 }

/** Everybody to everybody, and what of it crossed the underlay how. */
async function tryAll(lab: Lab, options: ReachabilityOptions = PATIENT) {
  const before = await lab.underlay.snapshot()
  const { tried, unreachable } = await lab.reachability({ ...PATIENT, ...options })
  const seen = underlayDelta(before, await lab.underlay.snapshot())
  return {
    tried,
    unreachable,
    clear: clearPodFrames(seen),
    tunnelled: wireguardFrames(seen),
    other: seen.other.packets,
  }
}

/** In each family: from a pod to each pod and each node, from a node to each pod. */
const trials = (lab: Lab): number => lab.nodes.length ** 2 * 3 * lab.plan.families.length

/** Of those, what goes to another node, there and back. */
const crossing = (lab: Lab): number => lab.nodes.length * (lab.nodes.length - 1) * 3 * 2 * lab.plan.families.length

const withTwo = keptMesh({ nodes: 2 })

describeLab('with encryption on', meshNeeds, () => {
  test.each(profile.long ? ([0, 1, 2] as const) : ([0, 1] as const))(
    'pods reach pods, pods reach nodes and nodes reach pods, all of it encrypted (reverse-path filter %d)',
    async rpFilter => {
      await withEncryptedMesh({ nodes: 3, rpFilter }, async lab => {
        const { tried, unreachable, clear, tunnelled, other } = await tryAll(lab)
        expect(unreachable).toEqual([])
        expect(tried).toBe(trials(lab))
        expect(clear).toBe(0)
        expect(other).toBe(0)
        expect(tunnelled).toBeGreaterThanOrEqual(crossing(lab))
      })
    },
  )

  test('what fills the tunnel’s MTU arrives, and stays encrypted', async () => {
    await withTwo(async lab => {
      // 1,420 bytes, what the device for IPv6 carries, less its header and that of ICMP.
      const { unreachable, clear } = await tryAll(lab, { size: 1420 - 40 - 8 })
      expect(unreachable).toEqual([])
      expect(clear).toBe(0)
    })
  })

  test('a pod that sends too large a packet is told the tunnel’s MTU', async () => {
    await withTwo(async lab => {
      const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
      const [address = ''] = two.pod.addresses
      const ping = await one.pod.exec([
        'ping',
        '-n',
        '-c',
        '3',
        '-i',
        '0.2',
        '-W',
        '1',
        '-M',
        'do',
        '-s',
        '1472',
        address,
      ])
      expect(ping.status).not.toBe(0)
      expect(ping.stdout + ping.stderr).toMatch(/mtu ?= ?1440/)
    })
  })
})

describeLab('what is counted as clear', meshNeeds, () => {
  test('is every one of them while encryption is off', async () => {
    await withMesh({ nodes: 2 }, async lab => {
      const { unreachable, clear, tunnelled } = await tryAll(lab)
      expect(unreachable).toEqual([])
      expect(clear).toBe(crossing(lab))
      expect(tunnelled).toBe(0)
    })
  })

  test('is what pods send to nodes where only Felix’s own rule is there', async () => {
    await withTwo(async lab => {
      const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
      await one.agent.kill('SIGKILL')
      await onNode(one, 'ip rule del pref 100')
      const before = await lab.underlay.snapshot()
      await one.pod.exec(['ping', '-n', '-c', '1', '-W', '1', two.addresses[0] ?? ''])
      expect(clearPodFrames(underlayDelta(before, await lab.underlay.snapshot()))).toBe(1)
    })
  })
})
