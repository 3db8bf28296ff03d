import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { LabNode } from '#src/lab/lab.ts'
import { patchPodveil } from '../guard/support/cluster.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { caseLimit, limit, meshNeeds } from './support/profile.ts'
import { nodeOf, onNode, turnOn, untilEncrypted, withMesh } from './support/with-mesh.ts'

const GATEWAY = '10.200.0.212'
/** Longer than the agent lets pass between two looks at a device that is at rest. */
const TWO_LOOKS = 21_000

/** What the node sends by WireGuard comes from the gateway, and from outside nobody reaches its port but in answer. */
async function hide(node: LabNode): Promise<void> {
  await onNode(node, `ip address add ${GATEWAY}/32 dev eth0`)
  const rules = `
    table ip test_gateway {
      chain out {
        type nat hook postrouting priority 100
        oifname eth0 udp sport 51820 snat to ${GATEWAY}:40000-40999
      }
      chain in {
        type filter hook prerouting priority -350
        ip daddr ${node.addresses[0]} udp dport 51820 drop
      }
    }`
  await onNode(node, `nft -f - <<'EOF'\n${rules}\nEOF`)
}

const endpoints = (node: LabNode): Promise<string> => onNode(node, 'wg show wireguard.cali endpoints')

describeLab('a node behind a gateway that translates its address', meshNeeds, () => {
  test(
    'is sent to where it is heard from, for as long as the gateway is listed',
    async () => {
      await withMesh({ nodes: 2, families: '4' }, async lab => {
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        await hide(two)
        await patchPodveil(lab, { natExceptions: [`${GATEWAY}/32`] })
        await lab.patchFelix({ wireguardKeepAlive: '5s' })
        await turnOn(lab)
        await delay(limit(TWO_LOOKS))
        expect(await endpoints(one)).toContain(`${GATEWAY}:40`)
        const { status } = await one.pod.exec(['ping', '-n', '-c', '1', '-W', '3', two.pod.addresses[0] ?? ''])
        expect(status).toBe(0)
        await untilEncrypted(lab)

        // Control: it is set back to where nobody answers.
        await patchPodveil(lab, { natExceptions: [] })
        await waitFor(
          async () => (await endpoints(one)).includes(`${two.addresses[0]}:51820`),
          limit(20_000),
          'the end of it',
        )
      })
    },
    caseLimit(120),
  )
})
