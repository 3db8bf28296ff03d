import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { listNamespaces } from '#src/lab/namespaces.ts'
import { isNamespaceOf } from '#src/lab/plan.ts'
import { run } from '#src/lab/run.ts'
import { LabFiles } from '#src/lab/state.ts'
import type { LabStatus } from '#src/lab/status.ts'
import { describeLab, reasonToSkip } from './harness/requirements.ts'
import { waitFor } from './harness/wait-for.ts'
import { labName } from './harness/with-lab.ts'

const PODVEIL = fileURLToPath(new URL('../../bin/podveil', import.meta.url))

const lab = (...argv: string[]) => run([PODVEIL, 'lab', ...argv], { timeoutMs: 60_000 })

describeLab('podveil lab', {}, () => {
  const name = labName()
  beforeAll(async () => {
    const up = await lab('up', '--name', name, '--nodes', '2', '--no-agents')
    expect(up).toMatchObject({ status: 0, stderr: '' })
    expect(up.stdout).toContain(`kubectl --kubeconfig "$(podveil lab kubeconfig --name ${name})" get nodes`)
  })
  afterAll(async () => {
    expect(await lab('down', '--name', name)).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(existsSync(new LabFiles(name).root)).toBe(false)
  })

  test('status --json says what a script needs of every node', async () => {
    const status = JSON.parse((await lab('status', '--name', name, '--json')).stdout) as LabStatus
    expect(status.nodes[1]).toMatchObject({
      name: 'node-2',
      networkNamespace: `podveil-${name}-node-2`,
      underlayAddresses: ['10.200.0.12', 'fd00:200::12'],
      podNamespace: `podveil-${name}-pod-2`,
      podAddresses: ['10.244.2.10', 'fd00:244:2::10'],
      agentPid: null,
    })
    expect(existsSync(status.kubeconfig)).toBe(true)
  })

  test('status says the same to a person', async () => {
    expect((await lab('status', '--name', name)).stdout).toMatch(
      /^node-2 +10\.200\.0\.12 fd00:200::12 +pod-2 .* not running$/m,
    )
  })

  test('exec runs on the node or in the pod, and ends as the command did', async () => {
    const onNode = await lab('exec', 'node-1', '--name', name, '--', 'sh', '-c', 'ip -br addr show eth0; exit 3')
    expect(onNode).toMatchObject({ status: 3, stdout: expect.stringContaining('10.200.0.11/24') })
    const inPod = await lab('exec', '--name', name, 'pod-1', '--', 'ip', '-br', 'addr', 'show', 'eth0')
    expect(inPod).toMatchObject({ status: 0, stdout: expect.stringContaining('10.244.1.10/32') })
  })

  test('exec on what is not there names what is', async () => {
    const { status, stderr } = await lab('exec', 'node-9', '--name', name, '--', 'true')
    expect(status).toBe(1)
    expect(stderr).toBe(`podveil: lab ${name} has no node-9: it has node-1, pod-1, node-2, pod-2\n`)
  })

  const noKubectl = reasonToSkip({ programs: ['kubectl'] })
  test.skipIf(noKubectl)(
    `kubeconfig prints a path that serves${noKubectl ? ` (skipped: ${noKubectl})` : ''}`,
    async () => {
      const { stdout } = await lab('kubeconfig', '--name', name)
      const nodes = await run(['kubectl', '--kubeconfig', stdout.trim(), 'get', 'nodes', '-o', 'name'])
      expect(nodes).toMatchObject({ status: 0, stdout: 'node/node-1\nnode/node-2\n' })
    },
  )

  test('watch counts, and its status says whether something was lost', async () => {
    const { status, stdout } = await lab('watch', '--name', name, '--seconds', '2', '--rate', '50')
    expect(stdout).toMatch(/encrypted 0\/4 +sent [1-9]\d* +lost 0 +in clear [1-9]/)
    expect(stdout).toMatch(/^sent \d+, lost 0, twice 0, out of order 0$/m)
    expect(status).toBe(0)
  })

  test('up twice is refused in one line that says what to do', async () => {
    const { status, stderr } = await lab('up', '--name', name)
    expect(status).toBe(1)
    expect(stderr).toBe(`podveil: lab ${name} is there already: \`podveil lab down --name ${name}\` removes it\n`)
  })

  test.each([
    [['up', '--nodes', '0'], /--nodes/],
    [['up', '--families', '5'], /--families/],
    [['up', '--name', '../etc'], /cannot name a lab/],
    [['up', '--rp-filter', '3'], /--rp-filter/],
    [['status', '--name', 'no-such-lab'], /podveil lab up --name no-such-lab/],
  ])('%j is refused, with the reason', async (argv, reason) => {
    const { status, stderr } = await lab(...argv)
    expect(status).toBe(1)
    expect(stderr).toMatch(reason)
    expect(stderr.trim().split('\n')).toHaveLength(1)
  })

  test('Ctrl-C on the way up removes what there is of the lab', async () => {
    const interrupted = labName()
    const child = spawn(PODVEIL, ['lab', 'up', '--name', interrupted, '--no-agents'], { stdio: 'ignore' })
    const namespaces = async () => (await listNamespaces()).filter(namespace => isNamespaceOf(interrupted, namespace))
    await waitFor(async () => (await namespaces()).length > 0, 20_000, 'the first namespace')
    child.kill('SIGINT')
    await once(child, 'close')
    expect(child.exitCode).not.toBe(0)
    expect(await namespaces()).toEqual([])
    expect(existsSync(new LabFiles(interrupted).root)).toBe(false)
  })
})
