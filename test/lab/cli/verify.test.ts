import { expect, test } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import type { RunResult } from '#src/lab/run.ts'
import type { Verification } from '#src/verify/verdict.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { withLab } from '../harness/with-lab.ts'
import { anywhere, blockTunnel, encrypt, nodeOf, PODVEIL } from './podveil.ts'

const verify = (lab: Lab, ...argv: string[]): Promise<RunResult> =>
  anywhere(lab, 'verify', ...argv, '--via', `${PODVEIL} lab exec --name ${lab.plan.name} {node} -- ${PODVEIL}`)

/** `node-1 node-2 4 encrypted`, of each direction. */
function verdicts({ stdout }: RunResult): string[] {
  const { directions } = JSON.parse(stdout) as Verification
  return directions.map(({ from, to, family, verdict }) => `${from.node} ${to.node} ${family} ${verdict}`)
}

describeLab('an operator who wants proof', { programs: ['wg', 'nft'], userspaceWireGuard: true }, () => {
  test('is shown what goes in clear while encryption is off, and ciphertext alone once it is on', async () => {
    await withLab({ nodes: 2 }, async lab => {
      const off = await verify(lab)
      expect(off.stdout).toMatch(/^IN CLEAR: marked datagrams were read on the underlay in 4 of 4 directions\n/)
      expect(off.stdout).toMatch(
        /^node-1 +node-2 +4 +IN CLEAR +20 +0\/0 +20\/20 +read on eth0: "PODVEIL VERIFY [0-9a-f]{32} 1 \.+"$/m,
      )
      expect(off.status).toBe(1)

      await encrypt(lab)
      const on = await verify(lab)
      expect(on.stderr).toBe('')
      expect(on.stdout).toMatch(/^encrypted: in 4 directions every marked datagram was ciphertext/)
      expect(on.stdout.match(/^node-[12] +node-[12] +[46] +encrypted +20 +20\/20 +0\/0$/gm)).toHaveLength(4)
      expect(on.status).toBe(0)
      const pods = await verify(lab, 'pod-1', 'default/pod-2', '--family', '6', '--json', '--count', '3')
      expect(verdicts(pods)).toEqual(['node-1 node-2 6 encrypted', 'node-2 node-1 6 encrypted'])
    })
  })

  test('is shown the one direction that leaks, and what is not proven where nothing arrives', async () => {
    await withLab({ nodes: 2, families: '4' }, async lab => {
      await encrypt(lab)
      const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
      await one.agent.kill('SIGTERM')
      await one.exec(['ip', 'rule', 'del', 'priority', '99'])
      const leaking = await waitFor(
        async () => {
          const answer = await verify(lab, 'node-1', 'node-2', '--json')
          return answer.stdout !== '' && answer
        },
        30_000,
        'verify to answer',
      )
      expect(verdicts(leaking)).toEqual(['node-1 node-2 4 in-clear', 'node-2 node-1 4 encrypted'])
      expect(leaking.status).toBe(1)

      await one.agent.start()
      await one.agent.ready()
      await waitFor(async () => (await one.exec(['ip', 'rule', 'show', 'priority', '99'])).stdout, 10_000, 'the rule')
      await blockTunnel(two, one)
      const blocked = await verify(lab, 'node-1', 'node-2', '--json')
      expect(verdicts(blocked)[0]).toBe('node-1 node-2 4 encrypted')
      await blockTunnelOnTheWay(lab)
      const lost = await verify(lab, 'node-1', 'node-2', '--json')
      expect(verdicts(lost)).toEqual(['node-1 node-2 4 incomplete', 'node-2 node-1 4 incomplete'])
      expect(lost.stdout).toContain('did not arrive: is UDP to the WireGuard port blocked?')
      expect(lost.status).toBe(1)
    })
  })

  test('is told in one line what cannot be verified', async () => {
    await withLab({ nodes: 1, agents: false }, async lab => {
      const alone = await verify(lab)
      expect(alone.stderr).toBe('podveil: there is one node: nothing leaves it\n')
      const same = await verify(lab, 'node-1', 'pod-1')
      expect(same.stderr).toBe('podveil: node-1 and pod-1 are on one node: nothing leaves it\n')
      expect(same.status).toBe(1)
    })
  })
})

/** The switch between the nodes drops WireGuard's packets. */
async function blockTunnelOnTheWay(lab: Lab): Promise<void> {
  const { run } = await import('#src/lab/run.ts')
  const rules =
    'table bridge test_block {\n chain pass {\n  type filter hook forward priority 0; policy accept;\n  udp dport 51820 drop\n }\n}\n'
  const { status, stderr } = await run(['ip', 'netns', 'exec', lab.plan.switchNamespace, 'nft', '-f', '-'], {
    input: rules,
  })
  if (status !== 0) throw new Error(stderr)
}
