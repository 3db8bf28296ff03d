import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { JsonObject } from '#src/lab/apiserver/json.ts'
import { renderKustomization } from '#src/lab/pod/kustomize.ts'
import { daemonSets, podProcess, withFlag } from '#src/lab/pod/pod.ts'
import { ROOT } from '../docs/support.ts'

const PLACE = { podName: 'agent-x', nodeName: 'node-7', address: '10.0.0.7', entrypoint: ['podveil'] }

const daemonSet = (manifest: string, name: string): JsonObject => {
  const found = daemonSets(renderKustomization(join(ROOT, 'manifests', manifest))).get(name)
  if (!found) throw new Error(`no ${name} in ${manifest}`)
  return found
}

/** A copy of the base's DaemonSet, after something was done to its container. */
function changed(change: (container: Record<string, unknown>, pod: Record<string, unknown>) => void): JsonObject {
  const copy = structuredClone(daemonSet('base', 'podveil-agent'))
  const { spec: pod } = (copy.spec as unknown as { template: { spec: Record<string, unknown> } }).template
  change((pod.containers as Record<string, unknown>[])[0] ?? {}, pod)
  return copy
}

describe('the agent’s container as a process of a node', () => {
  const agent = podProcess(daemonSet('base', 'podveil-agent'), PLACE)

  test('is started with the command and the arguments of the manifest', () => {
    expect(agent.argv).toEqual([
      ...['podveil', 'agent', '--dataplane=auto', '--state-dir=/var/lib/podveil'],
      ...['--health-port=9180', '--metrics-port=9181', '--log-level=info'],
    ])
  })

  test('learns its node by the downward API', () => {
    expect(agent.env).toEqual({ NODE_NAME: 'node-7', PODVEIL_PROC_SYS: '/host/proc/sys' })
  })

  test('has NET_ADMIN alone, cannot gain more, and has a token', () => {
    expect(agent).toMatchObject({
      capabilities: ['NET_ADMIN'],
      noNewPrivileges: true,
      readOnlyRoot: true,
      token: true,
      readiness: { port: 9180, path: '/readyz' },
    })
  })

  test('mounts the node’s paths where the manifest says', () => {
    expect(agent.volumes).toContainEqual({
      kind: 'hostPath',
      path: '/var/lib/podveil',
      type: 'DirectoryOrCreate',
      mountPath: '/var/lib/podveil',
      readOnly: false,
    })
    expect(agent.volumes.find(({ mountPath }) => mountPath === '/etc/machine-id')).toMatchObject({ readOnly: true })
  })
})

test('an overlay’s patch is part of it: userspace asks the other Pod for wireguard-go', () => {
  const agent = podProcess(daemonSet('overlays/userspace', 'podveil-agent'), PLACE)
  expect(agent.env.PODVEIL_WIREGUARD_GO).toBe('/opt/podveil/userspace/start-wireguard-go')
  expect(agent.volumes).toContainEqual({
    kind: 'configMap',
    name: expect.stringMatching(/^podveil-userspace-[a-z0-9]{10}$/),
    mode: 0o555,
    mountPath: '/opt/podveil/userspace',
    readOnly: true,
  })
  const other = podProcess(daemonSet('overlays/userspace', 'podveil-wireguard-go'), PLACE)
  expect(other).toMatchObject({ argv: ['/bin/sh', '/opt/podveil/userspace/serve-wireguard-go'], token: false })
})

test.each([
  [
    'a container that is privileged',
    /privileged/,
    (c: Record<string, unknown>) => (c.securityContext = { ...(c.securityContext as object), privileged: true }),
  ],
  [
    'capabilities that are not dropped',
    /drop ALL/,
    (c: Record<string, unknown>) => (c.securityContext = { runAsUser: 0 }),
  ],
  [
    'a variable whose value only a kubelet knows',
    /env LIMIT/,
    (c: Record<string, unknown>) =>
      (c.env = [{ name: 'LIMIT', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } }]),
  ],
  ['a reference to a variable', /args refers/, (c: Record<string, unknown>) => (c.args = ['--node-name=$(NODE_NAME)'])],
  [
    'a volume of another kind',
    /volume state is neither/,
    (_: unknown, pod: Record<string, unknown>) => (pod.volumes = [{ name: 'state', emptyDir: {} }]),
  ],
  ['a Pod network', /hostNetwork/, (_: unknown, pod: Record<string, unknown>) => (pod.hostNetwork = false)],
])('%s is refused, as the lab would not do what it says', (_, message, change) => {
  expect(() => podProcess(changed(change), PLACE)).toThrow(message)
})

test('a flag that is there gets another value, and none is added', () => {
  expect(withFlag(['agent', '--dataplane=auto', '--x=1'], '--dataplane', 'kernel')).toEqual([
    ...['agent', '--dataplane=kernel', '--x=1'],
  ])
  expect(withFlag(['cleanup'], '--dataplane', 'kernel')).toEqual(['cleanup'])
})
