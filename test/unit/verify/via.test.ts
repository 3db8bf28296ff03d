import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import type { ApiClient } from '#src/cluster/api-client.ts'
import { byKubectl, byTemplate } from '#src/verify/via.ts'

const AGENT = {
  metadata: { name: 'podveil-agent-x7k', namespace: 'mesh' },
  spec: { containers: [{ name: 'agent', image: 'r.example/podveil:1' }] },
}

const api = (...items: unknown[]): { client: ApiClient; asked: string[] } => {
  const asked: string[] = []
  const get = async (path: string) => {
    asked.push(decodeURIComponent(path))
    return { items }
  }
  return { client: { get } as unknown as ApiClient, asked }
}

describe('how podveil is run on a node', () => {
  test('by kubectl: beside the node’s agent, with its image, in its namespace', async () => {
    const { client, asked } = api(AGENT)
    const { argv, hint } = await byKubectl(client, '/a/config:/b/config', 'node-1')
    expect(argv.slice(0, 3)).toEqual(['env', 'KUBECONFIG=/a/config:/b/config', 'kubectl'])
    expect(argv.join(' ')).toContain('--namespace mesh debug podveil-agent-x7k ')
    expect(argv.join(' ')).toContain(' --profile netadmin --image r.example/podveil:1 -- podveil verify-end')
    expect(hint).toContain('kubectl -n mesh describe pod podveil-agent-x7k')
    expect(asked[0]).toContain('component=agent&fieldSelector=spec.nodeName=node-1')
  })

  test('kubectl has the command and the options that it is given', async () => {
    const { argv } = await byKubectl(api(AGENT).client, undefined, 'node-1')
    const help = kubectlHelp()
    if (help === undefined) return
    for (const option of argv
      .slice(0, argv.indexOf('--'))
      .filter(word => word.startsWith('--') && word !== '--namespace'))
      expect(help).toContain(`${option}=`)
    expect(help).toContain('netadmin')
  })

  test('by kubectl: not beside one that was evicted, nor one that is being replaced', async () => {
    const named = (name: string) => ({ ...AGENT, metadata: { ...AGENT.metadata, name } })
    const evicted = { ...named('evicted'), status: { phase: 'Failed' } }
    const leaving = named('leaving')
    const going = { ...leaving, metadata: { ...leaving.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } }
    const { argv } = await byKubectl(api(evicted, going, AGENT).client, undefined, 'node-1')
    expect(argv).toContain('podveil-agent-x7k')
    await expect(byKubectl(api(evicted, going).client, undefined, 'node-1')).rejects.toThrow("no agent's pod runs on")
  })

  test('a node without an agent’s pod is told', async () => {
    await expect(byKubectl(api().client, undefined, 'node-1')).rejects.toThrow("no agent's pod runs on node-1")
  })

  test('by a template, in which the node’s name stands wherever it is wanted', () => {
    const { argv, hint } = byTemplate('ssh {node} sudo -n podveil', 'node-1')
    expect(argv).toEqual(['sh', '-c', 'ssh node-1 sudo -n podveil verify-end'])
    expect(hint).toBe('does this run there: ssh node-1 sudo -n podveil verify-end')
  })
})

/** Undefined where kubectl is not installed. */
function kubectlHelp(): string | undefined {
  try {
    return execFileSync('kubectl', ['debug', '--help'], { encoding: 'utf8', stdio: 'pipe' })
  } catch {
    return undefined
  }
}
