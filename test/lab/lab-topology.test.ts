import { expect, test } from 'vitest'
import type { Families } from '#src/lab/plan.ts'
import { underlayDelta } from '#src/lab/underlay-watch.ts'
import { describeLab } from './harness/requirements.ts'
import { withLab } from './harness/with-lab.ts'

describeLab('a lab without agents', {}, () => {
  test.each<Families>(['4', '6', 'dual'])(
    'lets every pod reach every pod and node, in clear (families: %s)',
    async families => {
      await withLab({ agents: false, families }, async lab => {
        const { tried, unreachable } = await lab.reachability()
        expect(unreachable).toEqual([])
        expect(tried).toBe(3 * 3 * 3 * (families === 'dual' ? 2 : 1))
        expect((await lab.steering()).filter(pair => pair.encrypted)).toEqual([])
      })
    },
  )

  test.each([0, 1, 2] as const)('works with a reverse-path filter of %d on the underlay', async rpFilter => {
    await withLab({ agents: false, nodes: 2, rpFilter }, async lab => {
      expect((await lab.reachability()).unreachable).toEqual([])
      const { stdout } = (await lab.nodes[0]?.exec(['cat', '/proc/sys/net/ipv4/conf/eth0/rp_filter'])) ?? {}
      expect(stdout?.trim()).toBe(String(rpFilter))
    })
  })

  test('shows a pod packet that takes the default route as a leak, and never brings it back', async () => {
    await withLab({ agents: false, nodes: 2 }, async lab => {
      const [one, two] = lab.nodes
      await one?.exec(['ip', 'route', 'del', two?.podCidrs[0] ?? ''])
      const before = await lab.underlay.snapshot()
      const { status } = (await one?.pod.exec(['ping', '-n', '-c', '1', '-W', '1', two?.pod.addresses[0] ?? ''])) ?? {}
      const { podClear4, podClear6 } = underlayDelta(before, await lab.underlay.snapshot())
      expect(status).toBe(1)
      expect([podClear4.packets, podClear6.packets]).toEqual([1, 0])
    })
  })

  test('holds 40 nodes without overrunning the kernel’s table of neighbours', async () => {
    await withLab({ agents: false, nodes: 40 }, async lab => {
      const [first] = lab.nodes
      const script = lab.nodes
        .slice(1)
        .flatMap(node => node.pod.addresses.map(address => `ping -n -q -c 1 -W 3 ${address}`))
      const answers = await first?.pod.exec(['sh', '-e'], { input: script.join('\n') })
      expect(answers?.status).toBe(0)
    })
  })
})
