import { existsSync, rmSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Lab } from '#src/lab/lab.ts'
import { listNamespaces } from '#src/lab/namespaces.ts'
import { isNamespaceOf } from '#src/lab/plan.ts'
import { must } from '#src/lab/run.ts'
import { LabFiles } from '#src/lab/state.ts'
import { labStatus } from '#src/lab/status.ts'
import { describeLab } from './harness/requirements.ts'
import { waitFor } from './harness/wait-for.ts'
import { labName, withLab } from './harness/with-lab.ts'

/** Something that runs in place of an agent. */
const STAND_IN = { agentCommand: ['sh', '-c', 'echo "{node} is here"; exec sleep 600'] }

async function traces(name: string): Promise<{ namespaces: string[]; files: boolean; processes: string[] }> {
  const processes = (await must(['ps', '-eo', 'args']))
    .split('\n')
    .filter(line => line.includes(`/podveil-lab/${name}/`))
  return {
    namespaces: (await listNamespaces()).filter(namespace => isNamespaceOf(name, namespace)),
    files: existsSync(new LabFiles(name).root),
    processes,
  }
}

const NOTHING = { namespaces: [], files: false, processes: [] }

/** The machine's own network, without counters and times. */
const machineNetwork = async (): Promise<string> => {
  const parts = [
    ['ip', '-o', 'link'],
    ['ip', '-o', 'address'],
    ['ip', 'rule'],
    ['ip', 'route', 'show', 'table', 'all'],
    ['nft', 'list', 'ruleset'],
  ]
  const texts = await Promise.all(parts.map(argv => must(argv)))
  return texts.join('\n').replaceAll(/(valid|preferred)_lft \S+/g, '')
}

describeLab('a lab', { programs: ['wg'] }, () => {
  test('leaves no namespace, process or file behind, and never touches the machine’s own network', async () => {
    const name = labName()
    const before = await machineNetwork()
    const lab = await Lab.up({ name, nodes: 2, ...STAND_IN })
    await lab.traffic.prepare()
    const up = await traces(name)
    expect(up.namespaces).toHaveLength(5)
    expect(up.processes.length).toBeGreaterThan(3)
    expect(await machineNetwork()).toBe(before)
    await lab.down()
    expect(await traces(name)).toEqual(NOTHING)
    await lab.down()
    expect(await machineNetwork()).toBe(before)
  })

  test('is removed by its name alone when its files are gone', async () => {
    const name = labName()
    await Lab.up({ name, nodes: 2, ...STAND_IN })
    rmSync(new LabFiles(name).root, { recursive: true })
    await Lab.remove(name)
    expect((await traces(name)).namespaces).toEqual([])
    await waitFor(async () => expect(await traces(name)).toEqual(NOTHING) ?? true, 10_000, 'the relay to notice')
  })

  test('is removed when it could not be completed', async () => {
    const name = labName()
    await expect(
      Lab.up({ name, nodes: 1, agentCommand: ['/podveil/no/such/program'] }, AbortSignal.abort('stop')),
    ).rejects.toBe('stop')
    expect(await traces(name)).toEqual(NOTHING)
  })

  test('is not made twice, and another one beside it is', async () => {
    await withLab({ nodes: 1, agents: false }, async lab => {
      await expect(Lab.up({ name: lab.name, agents: false })).rejects.toMatchObject({ code: 'ERR_LAB_EXISTS' })
      expect((await lab.reachability()).unreachable).toEqual([])
      await withLab({ nodes: 1, agents: false }, async other => {
        expect((await other.reachability()).unreachable).toEqual([])
      })
      expect((await lab.reachability()).unreachable).toEqual([])
      expect((await lab.client.get('/api/v1/nodes/node-1')).kind).toBe('Node')
    })
  })

  test('can be taken up by another program, with its agents running', async () => {
    await withLab({ nodes: 2, ...STAND_IN }, async lab => {
      const again = Lab.open(lab.name)
      expect(labStatus(again)).toEqual(labStatus(lab))
      expect(again.nodes.every(node => node.agent.pid !== undefined)).toBe(true)
      const lines = () => again.nodes[0]?.agent.logs().split('node-1 is here\n').length
      await waitFor(() => lines() === 2, 10_000, 'its first words')
      await again.nodes[0]?.agent.kill('SIGKILL')
      expect(lab.nodes[0]?.agent.pid).toBeUndefined()
      await lab.nodes[0]?.agent.start()
      expect(again.nodes[0]?.agent.pid).toBeDefined()
      await waitFor(() => lines() === 3, 10_000, 'its words after the restart')
    })
  })

  test('that does not exist is said not to, with the command that makes it', () => {
    expect(() => Lab.open('no-such-lab')).toThrow(/podveil lab up --name no-such-lab/)
  })

  test('keeps its API through a restart of the API server', async () => {
    await withLab({ nodes: 1, agents: false }, async lab => {
      await lab.patchFelix({ wireguardEnabled: true })
      await lab.api.stop('SIGKILL')
      await expect(lab.client.get('/api/v1/nodes')).rejects.toMatchObject({ code: 'ERR_LAB_API' })
      await lab.api.start()
      const felix = await lab.client.get('/apis/crd.projectcalico.org/v1/felixconfigurations/default')
      expect(felix.spec).toMatchObject({ wireguardEnabled: true })
    })
  })

  test('gives every node a /run of its own', async () => {
    await withLab({ nodes: 2, agents: false }, async lab => {
      const [one, two] = lab.nodes
      await one?.exec(['touch', '/run/wireguard/here'])
      expect((await one?.exec(['ls', '/var/run/wireguard']))?.stdout).toBe('here\n')
      expect((await two?.exec(['ls', '/run/wireguard']))?.stdout).toBe('')
      expect(existsSync('/run/wireguard/here')).toBe(false)
    })
  })
})
