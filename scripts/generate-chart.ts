// Writes the Helm chart from the kustomizations: node_modules/.bin/node scripts/generate-chart.ts
//
// What an operator may set is put in place of what the manifests say (SETTINGS below); all else is theirs, word for word.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import type { Json, JsonObject } from '#src/lab/apiserver/json.ts'
import { readObjects, renderKustomization } from '#src/lab/pod/kustomize.ts'
import { VERSION } from '#src/version.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
export const CHART = join(ROOT, 'manifests/chart')

const NAMESPACE = 'podveil-system'
const HEADER =
  '# Made by scripts/generate-chart.ts from the kustomizations beside it. Change those, and make this anew.\n'

/** Stands in the YAML for a template expression, as YAML has no place for one. */
const hole = (expression: string): string => `<<${expression}>>`

/** The value of a key, as YAML below it; without the key where the value is empty. */
const block = (path: string): string => hole(`block ${path}`)

interface Setting {
  readonly value: Json
  readonly schema: JsonObject
  readonly comment: string
}

const text = (comment: string, value: string, more: JsonObject = {}): Setting => ({
  value,
  comment,
  schema: { type: 'string', ...more },
})
const flag = (comment: string): Setting => ({ value: false, comment, schema: { type: 'boolean' } })
const object = (comment: string, value: JsonObject = {}, more: JsonObject = {}): Setting => ({
  value,
  comment,
  schema: { type: 'object', ...more },
})
const list = (comment: string, items: JsonObject, value: readonly Json[] = []): Setting => ({
  value,
  comment,
  schema: { type: 'array', items },
})

interface Settings {
  readonly [name: string]: Setting | Settings
}

const isSetting = (value: Setting | Settings): value is Setting => typeof value.comment === 'string'

const CIDR = { type: 'string', pattern: '^[0-9a-fA-F:.]+/[0-9]{1,3}$' }

/** Values of the chart, with what they are checked by. Defaults are what the manifests say. */
function settings(agent: JsonObject): Settings {
  const { pod, container } = podOf(agent)
  return {
    image: {
      repository: text('where the nodes pull it from', 'podveil/podveil', { minLength: 1 }),
      tag: text('the version of the chart where it is empty', ''),
      pullPolicy: text('', 'IfNotPresent', { enum: ['Always', 'IfNotPresent', 'Never'] }),
      pullSecrets: list('names of Secrets: [{name: …}]', {
        type: 'object',
        properties: { name: { type: 'string' } },
        required: ['name'],
        additionalProperties: false,
      }),
    },
    agent: {
      dataplane: text('auto takes the kernel’s WireGuard where there is one', 'auto', {
        enum: ['auto', 'kernel', 'userspace'],
      }),
      logLevel: text('', 'info', { enum: ['trace', 'debug', 'info', 'warn', 'error'] }),
      env: object(
        'more environment, such as FELIX_WIREGUARDMTU; it beats FelixConfiguration',
        {},
        {
          propertyNames: { pattern: '^[A-Z][A-Z0-9_]*$' },
          additionalProperties: { type: 'string' },
        },
      ),
      resources: object('', container.resources as JsonObject),
      nodeSelector: object('for a staged roll-out, see docs/install.md', pod.nodeSelector as JsonObject, {
        additionalProperties: { type: 'string' },
      }),
      tolerations: list(
        'a node that is left out talks to all others in clear',
        { type: 'object' },
        pod.tolerations as Json[],
      ),
      priorityClassName: text('', String(pod.priorityClassName)),
      maxUnavailable: {
        value: '10%',
        comment: 'agents that are replaced at a time; what is in the kernel stays meanwhile',
        schema: {
          anyOf: [
            { type: 'integer', minimum: 1 },
            { type: 'string', pattern: '^[1-9][0-9]?%$|^100%$' },
          ],
        },
      },
    },
    cleanUp: flag('true before an uninstall, after encryption was turned off: `podveil cleanup` in the agents’ place'),
    userspace: { enabled: flag('wireguard-go in a Pod of its own, for kernels without WireGuard') },
    besideCalico: { enabled: flag('where Felix runs on the nodes; read docs/compatibility.md first') },
    guard: {
      mode: text('off, audit, enforce; empty makes no PodveilConfiguration', '', {
        enum: ['', 'off', 'audit', 'enforce'],
      }),
      podSupernets: list('all ranges of the cluster’s pods; enforce needs them', CIDR),
    },
  }
}

function podOf(daemonSet: JsonObject): { pod: JsonObject; container: JsonObject } {
  const { spec: pod } = (daemonSet.spec as { template: { spec: JsonObject } }).template
  const [container] = pod.containers as readonly JsonObject[]
  if (!container) throw new Error('a DaemonSet has no container')
  return { pod, container }
}

/** A DaemonSet with a changed Pod and container. */
function withPod(daemonSet: JsonObject, pod: JsonObject, container: JsonObject): JsonObject {
  const spec = daemonSet.spec as { template: JsonObject } & JsonObject
  const before = podOf(daemonSet)
  const changed = { ...before.pod, ...pod, containers: [{ ...before.container, ...container }] }
  return { ...daemonSet, spec: { ...spec, template: { ...spec.template, spec: changed } } } as JsonObject
}

const IMAGE = {
  image: hole('value printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote'),
  imagePullPolicy: hole('value .Values.image.pullPolicy'),
}

/** Entries of a list that an overlay adds, as one conditional part of the text. */
const when = (condition: string, entries: unknown): Json =>
  hole(`when ${condition} ${Buffer.from(stringify(entries, { lineWidth: 0 })).toString('base64')}`)

function agentTemplate(agent: JsonObject): JsonObject {
  const [userspace] = readObjects(join(ROOT, 'manifests/overlays/userspace/agent.yaml'))
  const [names] = readObjects(join(ROOT, 'manifests/overlays/beside-calico/names-of-its-own.yaml'))
  if (!userspace || !names) throw new Error('an overlay has no patch')
  const { pod, container } = podOf(agent)
  const more = podOf(userspace)
  const named = userspaceNames(more.pod.volumes as readonly JsonObject[])
  const args = (container.args as readonly string[]).map(word =>
    word
      .replace(/^(--dataplane)=.*/, `$1=${hole('value .Values.agent.dataplane')}`)
      .replace(/^(--log-level)=.*/, `$1=${hole('value .Values.agent.logLevel')}`),
  )
  const changed = withPod(
    agent,
    {
      imagePullSecrets: block('.Values.image.pullSecrets'),
      priorityClassName: hole('value .Values.agent.priorityClassName'),
      nodeSelector: block('.Values.agent.nodeSelector'),
      tolerations: block('.Values.agent.tolerations'),
      volumes: [...(pod.volumes as Json[]), when('.Values.userspace.enabled', named)],
    },
    {
      ...IMAGE,
      args,
      env: [
        ...(container.env as Json[]),
        when('.Values.besideCalico.enabled', podOf(names).container.env),
        when('.Values.userspace.enabled', more.container.env),
        hole('each .Values.agent.env'),
      ],
      resources: block('.Values.agent.resources'),
      volumeMounts: [
        ...(container.volumeMounts as Json[]),
        when('.Values.userspace.enabled', more.container.volumeMounts),
      ],
    },
  )
  return changed
}

function withMaxUnavailable(daemonSet: JsonObject, maxUnavailable: string): JsonObject {
  const spec = daemonSet.spec as JsonObject
  return {
    ...daemonSet,
    spec: { ...spec, updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable } } },
  }
}

/** The agent; before an uninstall, what takes its place. */
function agentOrCleanup(agent: JsonObject): string {
  const [cleanup] = renderKustomization(join(ROOT, 'manifests/overlays/cleanup')).filter(
    ({ kind }) => kind === 'DaemonSet',
  )
  if (!cleanup) throw new Error('the cleanup overlay has no DaemonSet')
  const parts = [
    '{{- if .Values.cleanUp }}\n',
    template([withMaxUnavailable(agentTemplate(cleanup), '100%')]),
    '{{- else }}\n',
    template([withMaxUnavailable(agentTemplate(agent), hole('value .Values.agent.maxUnavailable'))]),
    '{{- end }}\n',
  ]
  return parts.join('')
}

/** The overlay's ConfigMap by its generated name. */
function userspaceNames(volumes: readonly JsonObject[]): JsonObject[] {
  const map = userspaceObjects().find(({ kind }) => kind === 'ConfigMap')
  const { name } = (map?.metadata ?? {}) as { name?: string }
  if (name === undefined) throw new Error('the userspace overlay has no ConfigMap')
  return volumes.map(volume =>
    'configMap' in volume ? { ...volume, configMap: { ...(volume.configMap as JsonObject), name } } : volume,
  )
}

const userspaceObjects = (): JsonObject[] => renderKustomization(join(ROOT, 'manifests/overlays/userspace'))

/** YAML with the holes filled: expressions of Helm where YAML had none. */
function template(objects: readonly JsonObject[]): string {
  const yaml = objects.map(each => stringify(each, { lineWidth: 0 })).join('---\n')
  if (yaml.includes('{{')) throw new Error('a manifest has {{ in it, which Helm would take for its own')
  const lines = yaml.replaceAll(NAMESPACE, '{{ .Release.Namespace }}').split('\n')
  return lines.flatMap(fill).join('\n')
}

function fill(line: string): string[] {
  const indent = ' '.repeat(line.length - line.trimStart().length)
  const [, key = '', kind, rest = ''] = /^\s*(.*?)"?<<(\w+) (.*)>>"?$/.exec(line) ?? []
  switch (kind) {
    case undefined:
      return [line]
    case 'value':
      return [`${indent}${key}{{ ${rest} }}`]
    case 'block':
      return [
        `${indent}{{- with ${rest} }}`,
        `${indent}${key.trimEnd()}`,
        `${indent}  {{- toYaml . | nindent ${indent.length + 2} }}`,
        `${indent}{{- end }}`,
      ]
    case 'each':
      return [
        `${indent}{{- range $name, $value := ${rest} }}`,
        `${indent}- name: {{ $name }}`,
        `${indent}  value: {{ $value | quote }}`,
        `${indent}{{- end }}`,
      ]
    case 'when': {
      const [condition = '', encoded = ''] = rest.split(' ')
      const entries = Buffer.from(encoded, 'base64').toString().trimEnd().split('\n')
      return [`${indent}{{- if ${condition} }}`, ...entries.map(entry => `${indent}${entry}`), `${indent}{{- end }}`]
    }
    default:
      throw new Error(`no such hole: ${kind}`)
  }
}

const GUARD = `{{- if .Values.guard.mode }}
apiVersion: podveil.io/v1alpha1
kind: PodveilConfiguration
metadata:
  name: default
spec:
  guard: {{ .Values.guard.mode }}
  {{- with .Values.guard.podSupernets }}
  podSupernets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
`

const CHART_YAML = {
  apiVersion: 'v2',
  name: 'podveil',
  description: 'WireGuard encryption mesh for Kubernetes: pod traffic between nodes, tunnelled',
  type: 'application',
  version: VERSION,
  appVersion: VERSION,
  kubeVersion: '>=1.30.0-0',
}

function valuesYaml(tree: Settings, depth = 0): string {
  const indent = '  '.repeat(depth)
  return Object.entries(tree)
    .map(([name, entry]) => {
      if (!isSetting(entry)) return `${indent}${name}:\n${valuesYaml(entry, depth + 1)}`
      const comment = entry.comment === '' ? '' : `${indent}# ${entry.comment}\n`
      const value = stringify({ [name]: entry.value }, { lineWidth: 0 }).trimEnd()
      return `${comment}${value.replaceAll(/^/gm, indent)}\n`
    })
    .join('')
}

function schemaOf(tree: Settings): JsonObject {
  const properties = Object.fromEntries(
    Object.entries(tree).map(([name, entry]) => [name, isSetting(entry) ? entry.schema : schemaOf(entry)]),
  )
  return { type: 'object', additionalProperties: false, properties }
}

/** enforce without ranges would only count, which nobody means who says enforce. */
function valuesSchema(tree: Settings): JsonObject {
  const schema = schemaOf(tree)
  const properties = schema.properties as Readonly<Record<string, JsonObject>>
  const guard = {
    ...properties.guard,
    if: { properties: { mode: { const: 'enforce' } } },
    // biome-ignore lint/suspicious/noThenProperty: JSON Schema's own word
    then: { properties: { podSupernets: { minItems: 1 } } },
  }
  // Helm adds `global` for charts that have this one as a part.
  const all = { ...properties, guard, global: { type: 'object' } } as JsonObject
  return { $schema: 'http://json-schema.org/draft-07/schema#', ...schema, properties: all }
}

/** Files of the chart, by their path in it. */
export function chartFiles(): Map<string, string> {
  const base = renderKustomization(join(ROOT, 'manifests/base'))
  const byKind = (...kinds: readonly string[]) => base.filter(({ kind }) => kinds.includes(String(kind)))
  const [agent] = byKind('DaemonSet')
  if (!agent) throw new Error('the base has no DaemonSet')
  const [userspace] = userspaceObjects().filter(
    ({ kind, metadata }) =>
      kind === 'DaemonSet' && (metadata as { name: string }).name !== (agent.metadata as { name: string }).name,
  )
  const maps = userspaceObjects().filter(({ kind }) => kind === 'ConfigMap')
  if (!userspace) throw new Error('the userspace overlay has no DaemonSet of its own')
  const tree = settings(agent)
  const definition = (path: string) => readFileSync(join(ROOT, 'manifests/crds', path), 'utf8')
  return new Map([
    ['Chart.yaml', HEADER + stringify(CHART_YAML, { lineWidth: 0 })],
    ['values.yaml', HEADER + valuesYaml(tree)],
    ['values.schema.json', `${JSON.stringify(valuesSchema(tree), undefined, 2)}\n`],
    // Helm installs these where they are not there yet, and never changes or deletes them: Calico's own stays Calico's.
    ['crds/felixconfigurations.yaml', definition('calico/felixconfigurations.yaml')],
    ['crds/podveilconfigurations.yaml', definition('podveil/podveilconfigurations.yaml')],
    ['crds/meshnodes.yaml', definition('podveil/meshnodes.yaml')],
    ['templates/agent.yaml', HEADER + agentOrCleanup(agent)],
    [
      'templates/rights.yaml',
      HEADER + template(byKind('ServiceAccount', 'ClusterRole', 'ClusterRoleBinding', 'Role', 'RoleBinding')),
    ],
    [
      'templates/admission-policy.yaml',
      HEADER + template(byKind('ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding')),
    ],
    [
      'templates/userspace.yaml',
      `${HEADER}{{- if .Values.userspace.enabled }}\n${template([...maps, withPod(userspace, { imagePullSecrets: block('.Values.image.pullSecrets') }, IMAGE)])}{{- end }}\n`,
    ],
    ['templates/guard.yaml', HEADER + GUARD],
  ])
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  rmSync(CHART, { recursive: true, force: true })
  for (const [path, content] of chartFiles()) {
    mkdirSync(dirname(join(CHART, path)), { recursive: true })
    writeFileSync(join(CHART, path), content)
  }
  process.stdout.write(`${relative(process.cwd(), CHART)}: ${chartFiles().size} files\n`)
}
