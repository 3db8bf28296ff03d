import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ApiServer } from '#src/lab/apiserver/api-server.ts'
import { podveil } from '../../contract/fixtures.ts'
import { DEFINITIONS, startApiServer } from './fixtures.ts'
import { installedKubectls, Kubectl } from './kubectl.ts'

const kubectls = installedKubectls()

const NODE = `
apiVersion: v1
kind: Node
metadata:
  name: node-a
  labels: { node-role.kubernetes.io/worker: "" }
spec: { podCIDR: 10.65.1.0/24 }
status:
  addresses: [{ type: InternalIP, address: 192.0.2.1 }]
  conditions: [{ type: Ready, status: "True" }]
  nodeInfo: { kubeletVersion: v1.33.0, osImage: Debian, kernelVersion: 6.12.0, containerRuntimeVersion: none }
`

const FELIX = `
apiVersion: crd.projectcalico.org/v1
kind: FelixConfiguration
metadata: { name: default }
spec: { wireguardKeepAlive: 25s }
`

if (kubectls.length === 0) {
  describe('kubectl', () => {
    it.skip('is not on this machine: what it sees of the API server is not tested', () => {})
  })
}

describe.each(kubectls.map(path => [basename(path), path] as const))('%s', (_, path) => {
  let server: ApiServer
  let kubectl: Kubectl

  beforeEach(async () => {
    server = await startApiServer()
    kubectl = new Kubectl(path, server)
  })
  afterEach(async () => {
    kubectl[Symbol.dispose]()
    await server.close()
  })

  /** Runs a command that has to succeed; returns what it printed. */
  async function ok(args: string, input?: string, environment?: Record<string, string>): Promise<string> {
    const { code, stdout, stderr } = await kubectl.run(args.split(' '), input, environment)
    expect(code, stderr).toBe(0)
    return stdout
  }

  it('shows nodes as a table', async () => {
    await ok('create -f -', NODE)
    const [head, row] = (await ok('get nodes -o wide')).split('\n')
    expect(head?.split(/\s{2,}/)).toEqual([
      'NAME',
      'STATUS',
      'ROLES',
      'AGE',
      'VERSION',
      'INTERNAL-IP',
      'EXTERNAL-IP',
      'OS-IMAGE',
      'KERNEL-VERSION',
      'CONTAINER-RUNTIME',
    ])
    expect(row).toMatch(/^node-a +Ready +worker +\d+s +v1\.33\.0 +192\.0\.2\.1 +<none> +Debian +6\.12\.0 +none/)
  })

  it('shows nodes as YAML', async () => {
    await ok('create -f -', NODE)
    expect(await ok('get nodes -o yaml')).toContain('podCIDR: 10.65.1.0/24')
    expect(await ok('get node node-a -o jsonpath={.kind}/{.apiVersion}')).toBe('Node/v1')
  })

  it('watches nodes', async () => {
    await ok('create -f -', NODE)
    const patch = { status: { conditions: [{ type: 'Ready', status: 'False' }] } }
    let change: Promise<unknown> | undefined
    const lines = await kubectl.linesUntil(
      ['get', 'nodes', '--watch'],
      line => line.includes('NotReady'),
      () => {
        change ??= ok(`patch node node-a --subresource=status --type=strategic -p ${JSON.stringify(patch)}`)
      },
    )
    await change
    expect(lines.at(-1)).toMatch(/^node-a +NotReady/)
  })

  it('turns encryption on, by merge patch', async () => {
    expect(await ok('apply -f -', FELIX)).toContain('default created')
    await ok('patch felixconfiguration default --type=merge -p {"spec":{"wireguardEnabled":true}}')
    const spec = JSON.parse(await ok('get felixconfigurations default -o jsonpath={.spec}'))
    expect(spec).toEqual({ wireguardKeepAlive: '25s', wireguardEnabled: true })
    expect((await ok('get felixconfigurations')).split('\n')[0]).toMatch(/^NAME +AGE/)
  })

  it('prints which field is wrong', async () => {
    await ok('apply -f -', FELIX)
    const patch = '{"spec":{"wireguardEnabled":"yes"}}'
    const { code, stderr } = await kubectl.run(['patch', 'felixconfiguration', 'default', '--type=merge', '-p', patch])
    expect(code).toBe(1)
    expect(stderr).toContain('spec.wireguardEnabled in body must be of type boolean: "string"')
  })

  it('applies anew what has changed, and nothing where nothing has', async () => {
    await ok('apply -f -', FELIX)
    expect(await ok('apply -f -', FELIX)).toContain('unchanged')
    expect(await ok('apply -f -', FELIX.replace('25s', '10s'))).toContain('configured')
    expect(await ok('apply --server-side -f -', FELIX.replace('25s', '5s'))).toContain('serverside-applied')
    expect(await ok('get felixconfiguration default -o jsonpath={.spec.wireguardKeepAlive}')).toBe('5s')
  })

  it('refuses to apply a field that is misspelt', async () => {
    const manifest = JSON.stringify(podveil('default', { gaurd: 'off' }))
    const { code, stderr } = await kubectl.run(['apply', '-f', '-'], manifest)
    expect(code).toBe(1)
    expect(stderr).toContain('unknown field "spec.gaurd"')
  })

  it('annotates, labels, cordons and describes a node', async () => {
    await ok('create -f -', NODE)
    await ok('annotate node node-a podveil.io/note=kept')
    await ok('label node node-a zone=a')
    await ok('cordon node-a')
    const description = await ok('describe node node-a')
    expect(description).toMatch(/Annotations: +podveil\.io\/note: kept/)
    expect(description).toMatch(/Unschedulable: +true/)
    expect(await ok('get nodes')).toContain('Ready,SchedulingDisabled')
  })

  it('edits', async () => {
    await ok('apply -f -', FELIX)
    const output = await ok('edit felixconfiguration default', '', { KUBE_EDITOR: 'sed -i s/25s/7s/' })
    expect(output).toContain('edited')
    expect(await ok('get felixconfiguration default -o jsonpath={.spec.wireguardKeepAlive}')).toBe('7s')
  })

  it('deletes, and waits until it is gone', async () => {
    await ok('create -f -', NODE)
    expect(await ok('delete node node-a')).toContain('"node-a" deleted')
    const { code, stderr } = await kubectl.run(['get', 'node', 'node-a'])
    expect(code).toBe(1)
    expect(stderr).toContain('Error from server (NotFound): nodes "node-a" not found')
  })

  it('serves a kind once its definition is applied', async () => {
    await ok('delete crd podveilconfigurations.podveil.io')
    const file = readdirSync(join(DEFINITIONS, 'podveil')).find(name => name.startsWith('podveilconfigurations'))
    await ok(`apply -f ${join(DEFINITIONS, 'podveil', file ?? '')}`)
    await ok('wait --for=condition=Established crd/podveilconfigurations.podveil.io --timeout=10s')
    const manifest = JSON.stringify(podveil('default', { guard: 'enforce' }))
    await ok('apply -f -', manifest)
    expect((await ok('get podveilconfigurations')).split('\n')[1]).toMatch(/^default +enforce +\d+s/)
  })

  it('explains settings', async () => {
    expect(await ok('explain felixconfigurations.spec.wireguardEnabled')).toContain(
      'IPv4 traffic of pods between nodes',
    )
  })

  it('lists what there is to list', async () => {
    const kinds = (await ok('api-resources -o name')).trim().split('\n')
    expect(kinds).toEqual(expect.arrayContaining(['nodes', 'pods', 'felixconfigurations.crd.projectcalico.org']))
  })

  it('shows events of an object', async () => {
    const event = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name: 'e', namespace: 'default' },
      type: 'Warning',
      reason: 'KeyRefused',
      action: 'Publish',
      note: 'the key is another node’s',
      regarding: { kind: 'Node', name: 'node-a' },
      reportingController: 'podveil',
      reportingInstance: 'node-a',
      eventTime: '2026-01-02T03:04:05.000000Z',
    }
    await ok('create -f -', JSON.stringify(event))
    const [, row] = (await ok('get events')).split('\n')
    expect(row).toMatch(/Warning +KeyRefused +node\/node-a +the key is another node’s/)
  })
})
