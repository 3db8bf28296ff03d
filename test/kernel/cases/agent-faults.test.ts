import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { serviceEnvironment } from '#src/lab/access.ts'
import { LabAgent } from '#src/lab/agent.ts'
import { Lab, type LabNode, type LabOptions } from '#src/lab/lab.ts'
import { LabFiles } from '#src/lab/state.ts'
import { waitFor } from '../../lab/harness/wait-for.ts'
import { labName } from '../../lab/harness/with-lab.ts'
import { AgentLog } from '../../lab/mesh/support/agent-log.ts'
import { onNode, untilEncrypted } from '../../lab/mesh/support/with-mesh.ts'
import { withoutModule } from './support/modules.ts'
import { inTestVm, notInTestVm } from './support/profile.ts'

/** Everything is some thirteen times slower on an emulated processor. */
const LIMIT = 300_000
const PODVEIL = fileURLToPath(new URL('../../../bin/podveil', import.meta.url))
const DEVICE = 'wireguard.cali'
const STORM = 50_000
const STORM_TABLE = 4_242

describe.skipIf(!inTestVm)(`an agent on the kernel’s WireGuard${inTestVm ? '' : ` (${notInTestVm})`}`, () => {
  test('says what is missing while the module is, and encrypts as soon as it is there', async () => {
    // Without agents nobody asks for WireGuard; other modules are loaded as they are needed.
    await using lab = await labOf({ nodes: 1, agents: false })
    const node = first(lab)
    using gone = withoutModule('wireguard')
    await node.agent.start()
    const log = new AgentLog(node)
    await log.says(/WireGuard: kernel: this kernel has no WireGuard: .*module wireguard/, LIMIT)
    await notReady(node, /module wireguard/)
    gone[Symbol.dispose]()
    await node.agent.ready(LIMIT)
    await log.says(/works again/, LIMIT)
    expect(await onNode(node, `ip -d link show ${DEVICE}`)).toContain('wireguard')
  })

  test('says that CAP_NET_ADMIN is missing, stays up, and works once it is started with it', async () => {
    const name = labName()
    const agent = [PODVEIL, 'agent', '--node-name', '{node}', '--dataplane', 'kernel']
    const state = ['--state-dir', new LabFiles(name).node('{node}', 'state')]
    const without = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin']
    await using lab = await labOf({ name, nodes: 1, agentCommand: [...without, ...agent, ...state] })
    const node = first(lab)
    const log = new AgentLog(node)
    await log.says(/CAP_NET_ADMIN/, LIMIT)
    await notReady(node, /CAP_NET_ADMIN/)
    const { pid } = node.agent
    expect(await onNode(node, 'ip link show')).not.toContain(DEVICE)
    // It tries again and is the same process.
    await waitFor(() => log.matching(/CAP_NET_ADMIN/).length > 0 && node.agent.pid === pid, LIMIT, 'it to stay')
    await node.agent.kill()
    const spec = { ...lab.spec, agentCommand: undefined }
    await new LabAgent(spec, node.plan, new LabFiles(name), serviceEnvironment(lab.plan)).start()
    await node.agent.ready(LIMIT)
    expect(await onNode(node, `ip -d link show ${DEVICE}`)).toContain('wireguard')
  })

  test(`finds what was done to it behind a storm of ${STORM} routes whose events are lost`, async () => {
    await using lab = await labOf({ nodes: 2 })
    await untilEncrypted(lab, LIMIT)
    const node = first(lab)
    const log = new AgentLog(node)
    const { pid } = node.agent
    if (pid === undefined) throw new Error('the agent does not run')
    process.kill(pid, 'SIGSTOP')
    await node.exec(['ip', '-batch', '-'], { input: storm(), timeoutMs: LIMIT })
    // Told after all of them, so not told at all.
    await onNode(node, 'ip rule del pref 99; ip route flush table 1')
    process.kill(pid, 'SIGCONT')
    await log.says(/events of the kernel were lost: reading everything anew/, LIMIT)
    await untilEncrypted(lab, LIMIT)
    expect(node.agent.pid).toBe(pid)
    expect(await onNode(node, `ip route show table ${STORM_TABLE} | wc -l`)).toBe(`${STORM}\n`)
  })
})

const labOf = async (options: LabOptions): Promise<Lab> => {
  const lab = await Lab.up({ name: labName(), families: '4', dataplane: 'kernel', ...options })
  await lab.setEncryption(true)
  return lab
}

const first = ({ nodes: [node] }: Lab): LabNode => {
  if (!node) throw new Error('the lab has no nodes')
  return node
}

const notReady = (node: LabNode, reason: RegExp): Promise<unknown> =>
  waitFor(
    async () => {
      const { status, body } = await node.agent.http('/readyz')
      expect(body).toMatch(reason)
      return status === 503
    },
    LIMIT,
    `/readyz to say ${reason}`,
  )

const storm = (): string =>
  Array.from(
    { length: STORM },
    (_, n) => `route add 198.${18 + (n >>> 16)}.${(n >>> 8) & 255}.${n & 255} dev eth0 table ${STORM_TABLE}\n`,
  ).join('')
