import { join } from 'node:path'
import { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { parameterKeys, parameterName } from '#src/cluster/felix-parameters.ts'
import { registerAgent } from '#src/commands/agent.ts'
import { HELLO_PORT } from '#src/hello/message.ts'
import { renderKustomization } from '#src/lab/pod/kustomize.ts'
import { filesBelow, ROOT, read, sources } from '../docs/support.ts'

interface Container {
  readonly name: string
  readonly image: string
  readonly command: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly { readonly name: string; readonly value?: string }[]
  readonly ports?: readonly { readonly name: string; readonly containerPort: number; readonly hostPort: number }[]
  readonly securityContext: Record<string, unknown>
  readonly livenessProbe?: Probe
  readonly readinessProbe?: Probe
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[]
}

interface Probe {
  readonly httpGet: { readonly host: string; readonly path: string; readonly port: string }
}

interface Workload {
  readonly metadata: { readonly name: string; readonly namespace: string }
  readonly spec: {
    readonly selector: { readonly matchLabels: unknown }
    readonly updateStrategy: { readonly type: string }
    readonly template: {
      readonly metadata: { readonly labels: unknown }
      readonly spec: {
        readonly hostNetwork: boolean
        readonly serviceAccountName?: string
        readonly automountServiceAccountToken: boolean
        readonly containers: readonly Container[]
        readonly volumes: readonly { readonly name: string }[]
      }
    }
  }
}

const workload = (path: string): Workload => parse(read(path)) as Workload

const BASE = workload('manifests/base/daemonset.yaml')
const USERSPACE = workload('manifests/overlays/userspace/wireguard-go.yaml')
// Templates of the chart are not YAML yet.
const ALL = [
  ...filesBelow('manifests', '.yaml').filter(path => !path.startsWith('manifests/chart/templates')),
  'manifests/crds/podveil/Kustomization',
  'manifests/crds/calico/Kustomization',
]

const containerOf = ({ spec }: Workload): Container => {
  const [container] = spec.template.spec.containers
  if (!container) throw new Error('there is no container')
  return container
}

const agentCommand = (): Command => {
  const program = new Command()
  registerAgent(program)
  const [agent] = program.commands
  if (!agent) throw new Error('there is no command agent')
  return agent
}

test.each(ALL)('%s is YAML', path => {
  for (const document of parseAllDocuments(read(path))) expect(document.errors).toEqual([])
})

test.each(ALL.filter(path => /kustomization\.yaml$/i.test(path) || path.endsWith('Kustomization')))(
  'what %s names is there',
  path => {
    const kustomization = parse(read(path)) as {
      resources?: string[]
      patches?: { path: string }[]
      configMapGenerator?: { files: string[] }[]
    }
    const files = [
      ...(kustomization.resources ?? []).filter(resource => resource.endsWith('.yaml')),
      ...(kustomization.patches ?? []).map(patch => patch.path),
      ...(kustomization.configMapGenerator ?? []).flatMap(({ files }) => files),
    ]
    for (const file of files) expect(() => read(join(path, '..', file))).not.toThrow()
  },
)

describe('the agent', () => {
  const agent = containerOf(BASE)

  test('is started with a command and flags that there are', () => {
    expect(agent.command).toEqual(['podveil', 'agent'])
    const known = agentCommand().options.map(option => option.long)
    for (const argument of agent.args ?? []) expect(known).toContain(argument.split('=')[0])
    // Whatever else is wrong, the flags can be parsed.
    const command = agentCommand()
      .exitOverride()
      .action(() => {})
    command.parse([...(agent.args ?? []), '--node-name=node'], { from: 'user' })
    expect(command.opts()).toMatchObject({ healthPort: 9180, metricsPort: 9181, stateDir: '/var/lib/podveil' })
  })

  test('is probed where it answers', () => {
    const ports = new Map(agent.ports?.map(port => [port.name, port]))
    expect(ports.get('health')).toMatchObject({ containerPort: 9180, hostPort: 9180 })
    expect(ports.get('metrics')).toMatchObject({ containerPort: 9181, hostPort: 9181 })
    expect([...ports.values()].map(port => port.containerPort)).not.toContain(HELLO_PORT)
    expect(agent.livenessProbe?.httpGet).toEqual({ host: '127.0.0.1', path: '/livez', port: 'health' })
    expect(agent.readinessProbe?.httpGet).toEqual({ host: '127.0.0.1', path: '/readyz', port: 'health' })
    const served = read('src/agent/agent.ts')
    for (const path of ['/livez', '/readyz', '/metrics']) expect(served).toContain(`'${path}'`)
  })

  test('has its own token, and its own account', () => {
    const { serviceAccountName, automountServiceAccountToken } = BASE.spec.template.spec
    const account = parse(read('manifests/base/serviceaccount.yaml')) as Workload
    expect(serviceAccountName).toBe(account.metadata.name)
    expect(BASE.metadata.namespace).toBe(account.metadata.namespace)
    expect(automountServiceAccountToken).toBe(true)
    const policy = read('manifests/base/admission-policy.yaml')
    expect(policy).toContain(`system:serviceaccount:${account.metadata.namespace}:${account.metadata.name}`)
  })
})

describe.each([
  ['agent', BASE],
  ['wireguard-go', USERSPACE],
] as const)('the Pod of %s', (_name, { spec }) => {
  const { hostNetwork, containers, volumes } = spec.template.spec
  const container = containers[0]

  test('is selected by its labels, and in the network of the host', () => {
    expect(spec.template.metadata.labels).toEqual(spec.selector.matchLabels)
    expect(hostNetwork).toBe(true)
  })

  test('has NET_ADMIN and no other privilege', () => {
    expect(container?.securityContext).toMatchObject({
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
    })
  })

  test('mounts what it declares', () => {
    expect(container?.volumeMounts?.map(mount => mount.name).toSorted()).toEqual(
      volumes.map(volume => volume.name).toSorted(),
    )
  })

  test('is of an image with a version', () => {
    expect(container?.image).toMatch(/:\d+\.\d+\.\d+$/)
  })
})

test('wireguard-go outlives updates of the agent', () => {
  expect(USERSPACE.spec.updateStrategy.type).toBe('OnDelete')
  expect(BASE.spec.updateStrategy.type).toBe('RollingUpdate')
  const paths = (container: Container) => container.volumeMounts?.map(mount => mount.mountPath)
  for (const each of [containerOf(BASE), containerOf(USERSPACE)]) expect(paths(each)).toContain('/var/run/wireguard')
})

test('every variable that is set is one that something reads', () => {
  const felix = new Set(parameterKeys.map(key => `FELIX_${parameterName(key).toUpperCase()}`))
  const own = sources('src', 'wg', 'keys')
  const patches = ['manifests/overlays/beside-calico/names-of-its-own.yaml', 'manifests/overlays/userspace/agent.yaml']
  const names = [BASE, ...patches.map(workload)].flatMap(each => containerOf(each).env ?? []).map(({ name }) => name)
  expect(names.length).toBeGreaterThan(4)
  for (const name of names)
    if (name.startsWith('FELIX_')) expect(felix).toContain(name)
    else expect(own).toMatch(new RegExp(`[.']${name}\\b`))
})

test('beside Calico, no name, table or mark is one of Felix’s', () => {
  const patch = workload('manifests/overlays/beside-calico/names-of-its-own.yaml')
  const value = (name: string) => containerOf(patch).env?.find(each => each.name === name)?.value
  for (const suffix of ['', 'V6']) {
    const name = value(`FELIX_WIREGUARDINTERFACENAME${suffix}`) ?? ''
    expect(name).toMatch(/^[a-z0-9.-]{1,15}$/)
    expect(['wireguard.cali', 'wg-v6.cali']).not.toContain(name)
  }
  expect(Number(value('FELIX_IPTABLESMARKMASK')) & (0xffff0000 | 0x4000 | 0x8000)).toBe(0)
  expect(value('FELIX_ROUTETABLERANGES')).toMatch(/^2[0-4]\d-2[0-4]\d$/)
})

test('no rule allows everything', () => {
  for (const document of parseAllDocuments(read('manifests/base/clusterrole.yaml'))) {
    const role = document.toJS() as { rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[] }
    for (const rule of role.rules) expect([...rule.apiGroups, ...rule.resources, ...rule.verbs]).not.toContain('*')
  }
})

test('nothing is pulled by a tag that moves', () => {
  for (const path of [...ALL, 'Dockerfile']) expect(read(path)).not.toMatch(/:latest\b/)
})

describe('Calico’s definitions', () => {
  const CALICOS = 'manifests/crds/calico'
  const kustomizations = filesBelow('manifests', 'ustomization.yaml')
    .filter(path => !path.includes('/components/'))
    .map(path => path.replace(/\/[^/]*$/, ''))
  const definitions = (directory: string) =>
    renderKustomization(join(ROOT, directory)).filter(
      ({ kind, metadata }) =>
        kind === 'CustomResourceDefinition' && JSON.stringify(metadata).includes('crd.projectcalico.org'),
    )

  test('are made by the kustomization that is for clusters without Calico', () => {
    expect(definitions(CALICOS)).not.toEqual([])
  })

  test.each(kustomizations)('are left alone by %s', directory => {
    expect(definitions(directory)).toEqual([])
  })
})
