import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { LabNode } from '#src/lab/lab.ts'
import { guardSpec, patchPodveil } from '../guard/support/cluster.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { caseLimit, limit, meshNeeds, profile } from './support/profile.ts'
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
const keepalives = (node: LabNode): Promise<string> => onNode(node, 'wg show wireguard.cali persistent-keepalive')

async function answers(from: LabNode, to: LabNode): Promise<boolean> {
  const { status } = await from.pod.exec(['ping', '-n', '-c', '1', '-W', '3', to.pod.addresses[0] ?? ''])
  return status === 0
}

describeLab('a node behind a gateway that translates its address', meshNeeds, () => {
  test(
    'is found, sent to where it is heard from and kept in touch with; where the guard enforces, if the gateway is listed',
    async () => {
      await withMesh({ nodes: 2, families: '4' }, async lab => {
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        await hide(two)
        await turnOn(lab)
        await waitFor(async () => (await keepalives(one)).includes('\t25'), limit(20_000), 'node 1 to keep in touch')
        await delay(limit(TWO_LOOKS))
        expect(await endpoints(one)).toContain(`${GATEWAY}:40`)
        // Node 1 is where it says that it is.
        expect(await keepalives(two)).toContain('\toff')
        expect(await answers(one, two)).toBe(true)
        await untilEncrypted(lab)

        // Control: what is pinned is set back to where nobody answers.
        await patchPodveil(lab, guardSpec('enforce'))
        const home = `${two.addresses[0]}:51820`
        await waitFor(async () => (await endpoints(one)).includes(home), limit(20_000), 'node 1 to dial it at home')
        expect(await answers(one, two)).toBe(false)
        expect(await endpoints(one)).toContain(home)

        await patchPodveil(lab, { natExceptions: [`${GATEWAY}/32`] })
        await waitFor(() => answers(two, one), limit(20_000), 'it to be heard again')
        await delay(limit(TWO_LOOKS))
        expect(await endpoints(one)).toContain(`${GATEWAY}:40`)
        expect(await answers(one, two)).toBe(true)
      })
    },
    caseLimit(120),
  )

  test.runIf(profile.long)(
    'is dialled at its own address again when it has not been heard of for as long as a session lives',
    async () => {
      await withMesh({ nodes: 3, families: '4' }, async lab => {
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        await hide(two)
        await turnOn(lab)
        await waitFor(async () => (await endpoints(one)).includes(GATEWAY), limit(20_000), 'node 1 to hear of it')
        await two.agent.kill()
        await onNode(two, 'ip link del wireguard.cali')
        const home = `${two.addresses[0]}:51820`
        await delay(limit(60_000))
        expect(await endpoints(one)).not.toContain(home)
        await waitFor(async () => (await endpoints(one)).includes(home), limit(150_000), 'node 1 to dial it at home')
        expect(await keepalives(one)).not.toContain('25')
      })
    },
    caseLimit(60),
  )
})
