import { expect, test } from 'vitest'
import type { JsonObject } from '#src/lab/api.ts'
import type { Lab } from '#src/lab/lab.ts'
import { tell } from '../guard/support/tell.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { keptMesh } from '../mesh/support/kept-mesh.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from '../mesh/support/profile.ts'
import { expectInClear, expectTunnelled } from '../mesh/support/underlay.ts'
import { onNode, untilClear, untilEncrypted } from '../mesh/support/with-mesh.ts'

interface Setting {
  readonly name: string
  readonly spec: JsonObject
  readonly back: JsonObject
  /** Shows it, on a node. */
  readonly look: string
  readonly changed: RegExp
  readonly before: RegExp
}

/** A spare device would be among them: the change is over when it has gone. */
const LISTEN_PORTS = 'wg show all listen-port | sort'

const settings: readonly Setting[] = [
  {
    name: 'MTU',
    spec: { wireguardMTU: 1300, wireguardMTUV6: 1290 },
    back: { wireguardMTU: null, wireguardMTUV6: null },
    look: 'ip -o link show wireguard.cali; ip -o link show wg-v6.cali',
    changed: /mtu 1300 [\s\S]*mtu 1290 /,
    before: /mtu 1440 [\s\S]*mtu 1420 /,
  },
  {
    name: 'keepalive',
    spec: { wireguardKeepAlive: '25s' },
    back: { wireguardKeepAlive: null },
    look: 'wg show all persistent-keepalive',
    changed: /^(\S+\t\S+\t25\n)+$/,
    before: /^(\S+\t\S+\toff\n)+$/,
  },
  {
    name: 'port',
    spec: { wireguardListeningPort: 51828, wireguardListeningPortV6: 51829 },
    back: { wireguardListeningPort: null, wireguardListeningPortV6: null },
    look: LISTEN_PORTS,
    changed: /^wg-v6\.cali\t51829\nwireguard\.cali\t51828\n$/,
    before: /^wg-v6\.cali\t51821\nwireguard\.cali\t51820\n$/,
  },
  {
    name: 'name of the device',
    spec: { wireguardInterfaceName: 'wg-pods', wireguardInterfaceNameV6: 'wg-pods6' },
    back: { wireguardInterfaceName: null, wireguardInterfaceNameV6: null },
    look: LISTEN_PORTS,
    changed: /^wg-pods\t51820\nwg-pods6\t51821\n$/,
    before: /^wg-v6\.cali\t51821\nwireguard\.cali\t51820\n$/,
  },
  {
    name: 'tables of the routes',
    spec: { routeTableRanges: [{ min: 40, max: 50 }] },
    back: { routeTableRanges: null },
    look: 'ip -4 rule; ip -6 rule; ip route show table all | grep -cE "table [1-4] " || true',
    changed: /lookup 40\n[\s\S]*lookup 40\n[\s\S]*^0\n$/m,
    before: /lookup 1\n[\s\S]*lookup 1\n[\s\S]*^[1-9]\d*\n$/m,
  },
  {
    name: 'priority of the rule',
    spec: { wireguardRoutingRulePriority: 77 },
    back: { wireguardRoutingRulePriority: null },
    look: 'ip -4 rule; ip -6 rule',
    changed: /^(?!.*\b99:)[\s\S]*77:[\s\S]*77:/,
    before: /^(?!.*\b77:)[\s\S]*99:[\s\S]*99:/,
  },
]

async function change(lab: Lab, spec: JsonObject, look: string, shows: RegExp): Promise<void> {
  await lab.patchFelix(spec)
  for (const node of lab.nodes)
    await waitFor(
      async () => {
        expect(await onNode(node, look)).toMatch(shows)
        return true
      },
      limit(30_000),
      `${node.name} to follow`,
    )
}

const TIMES = profile.long ? 10 : 1

describeLab('a setting changed while pods talk', meshNeeds, () => {
  const withMesh = keptMesh({ nodes: 2 })

  test.each(settings)(
    `$name, there and back, ${TIMES} times: nothing is lost`,
    async ({ name, spec, back, look, changed, before }) => {
      await withMesh(async lab => {
        const report = await measureLoss(lab, async () => {
          for (let time = 0; time < TIMES; time++) {
            await change(lab, spec, look, changed)
            await expectTunnelled(lab)
            await change(lab, back, look, before)
          }
          await expectTunnelled(lab)
        })
        tell(`${name} changed`, { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
        for (const node of lab.nodes) expect(node.agent.logs()).not.toContain('somebody else')
      })
    },
    caseLimit(180),
  )

  test(
    'routeSyncDisabled, there and back: pods are in clear without routes, encrypted with them, and nothing is lost',
    async () => {
      await withMesh(async lab => {
        const report = await measureLoss(lab, async () => {
          await lab.patchFelix({ routeSyncDisabled: true })
          await untilClear(lab)
          await expectInClear(lab)
          for (const node of lab.nodes) expect(await onNode(node, 'wg show all peers')).not.toBe('')
          await lab.patchFelix({ routeSyncDisabled: null })
          await untilEncrypted(lab)
          await expectTunnelled(lab)
        })
        expectNoLoss(report)
      })
    },
    caseLimit(90),
  )
})
