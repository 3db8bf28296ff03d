import { expect, test } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import { clearPodFrames, underlayDelta, wireguardFrames } from '#src/lab/underlay-watch.ts'
import type { Family } from '#wg/ip.ts'
import { onNode as podveil } from '../cli/podveil.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { felixSees, startFelix } from './support/felix.ts'
import { caseLimit, limit, meshNeeds } from './support/profile.ts'
import { nodeOf, onNode, withMesh } from './support/with-mesh.ts'

/** Who can do WireGuard in which family; all others are spoken with in clear. */
const ABLE: Readonly<Record<Family, readonly string[]>> = {
  4: ['pod-1', 'pod-2', 'pod-3'],
  6: ['pod-1', 'pod-2', 'pod-5'],
}

const shouldEncrypt = (family: Family, ...pods: readonly string[]): boolean =>
  pods.every(pod => ABLE[family].includes(pod))

/** Pairs that are not as they should be; what a hand-made Felix does is its own. */
async function wrongPairs(lab: Lab): Promise<string[]> {
  const pairs = (await lab.steering()).filter(({ source }) => source !== 'pod-3')
  return pairs
    .filter(({ source, destination, family, encrypted }) => encrypted !== shouldEncrypt(family, source, destination))
    .map(({ source, destination, family, device }) => `${source} to ${destination} IPv${family} by ${device}`)
}

async function echo(lab: Lab, from: number, to: number, family: Family) {
  const [source, target] = [nodeOf(lab, from), nodeOf(lab, to)]
  const address = target.pod.addresses[family === 4 ? 0 : 1] ?? ''
  const before = await lab.underlay.snapshot()
  const { status } = await source.pod.exec(['ping', '-n', '-c', '1', '-W', '3', address])
  const seen = underlayDelta(before, await lab.underlay.snapshot())
  return { answered: status === 0, clear: clearPodFrames(seen) > 0, tunnelled: wireguardFrames(seen) > 0 }
}

describeLab('nodes that can do different things', meshNeeds, () => {
  test(
    'each pair does the best that both can, and says what keeps it from more',
    async () => {
      await withMesh({ nodes: 5 }, async lab => {
        const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
        // 2 listens on a port of its own; 3 runs Felix; 4 is opted out; 5 does IPv6 alone.
        await three.agent.kill('SIGTERM')
        await lab.patchFelix({ wireguardListeningPort: 51825 }, 'node.node-2')
        await lab.patchFelix({ wireguardEnabled: false, wireguardEnabledV6: false }, 'node.node-4')
        await lab.patchFelix({ wireguardEnabled: false }, 'node.node-5')
        await startFelix(lab, three)
        await lab.setEncryption(true)
        // Felix dials its own port, where node 2 does not listen: it is node 2 that dials.
        for (const other of [one, two]) await felixSees(lab, three, other)
        await waitFor(
          async () => {
            const wrong = await wrongPairs(lab)
            return wrong.length === 0 || Promise.reject(new Error(wrong.join(', ')))
          },
          limit(30_000),
          'every pair to be as it should',
        )

        for (const [from, to] of [
          [1, 2],
          [2, 1],
          [1, 3],
          [3, 1],
          [2, 3],
          [3, 2],
          [1, 4],
          [4, 2],
          [1, 5],
          [5, 1],
          [5, 4],
        ] as const)
          for (const family of [4, 6] as const) {
            const encrypted = shouldEncrypt(family, `pod-${from}`, `pod-${to}`)
            const { tunnelled, ...crossing } = await echo(lab, from, to, family)
            expect({ from, to, family, ...crossing }).toEqual({ from, to, family, answered: true, clear: !encrypted })
            // Agents of other pairs may have said something meanwhile.
            if (encrypted) expect({ from, to, family, tunnelled }).toEqual({ from, to, family, tunnelled: true })
          }
        expect(await onNode(one, 'wg show wireguard.cali endpoints')).toContain(`${two.addresses[0]}:51825`)

        const { stdout } = await podveil(one, 'status', '--node')
        expect(stdout).toMatch(/^node-2 +4 +encrypted .*:51825 /m)
        expect(stdout).toMatch(/^node-3 +4 +encrypted .*:51820 /m)
        expect(stdout).toMatch(/^node-3 +6 .*announces no WireGuard key/m)
        expect(stdout).toMatch(/^node-4 +4 .*announces no WireGuard key/m)
        expect(stdout).toMatch(/^node-5 +4 .*announces no WireGuard key/m)
      })
    },
    caseLimit(120),
  )
})
