import { isArray, isObject, type Json, type JsonObject, textAt } from '../apiserver/json.ts'
import { LabError } from '../errors.ts'

/** A workload's container as a process of one node: all that its Pod template says of it. */
export interface PodProcess {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly volumes: readonly MountedVolume[]
  /** Names without `CAP_`; all others are taken away. */
  readonly capabilities: readonly string[]
  readonly noNewPrivileges: boolean
  readonly readOnlyRoot: boolean
  /** Whether it has a token of its ServiceAccount. */
  readonly token: boolean
  readonly readiness: { readonly port: number; readonly path: string } | undefined
}

export type MountedVolume = { readonly mountPath: string; readonly readOnly: boolean } & VolumeSource

export type VolumeSource =
  | { readonly kind: 'hostPath'; readonly path: string; readonly type: string }
  | { readonly kind: 'configMap'; readonly name: string; readonly mode: number }

/** What the kubelet of a node knows when it starts a Pod there. */
export interface PodPlace {
  readonly podName: string
  readonly nodeName: string
  /** The node's first address: host, and on the host's network the Pod as well. */
  readonly address: string
  /** What the image says: its entrypoint, for a container without a command. */
  readonly entrypoint: readonly string[]
}

interface Template {
  readonly object: JsonObject
  readonly pod: JsonObject
  readonly container: JsonObject
}

/**
 * What a kubelet makes of a DaemonSet's Pod on a node, for its one container.
 * @param list `initContainers` for the one that runs before it
 * @throws LabError naming the object and the field that the lab cannot do as it says
 */
export function podProcess(
  daemonSet: JsonObject,
  place: PodPlace,
  list: 'containers' | 'initContainers' = 'containers',
): PodProcess {
  const template = templateOf(daemonSet, list)
  const { container, pod } = template
  const command = words(template, 'command') ?? place.entrypoint
  const security = objectOf(container.securityContext)
  if (pod.hostNetwork !== true) throw refusal(template, 'hostNetwork must be true: the lab’s nodes have no Pod network')
  if (security.runAsUser !== 0) throw refusal(template, 'securityContext.runAsUser must be 0')
  if (security.privileged === true) throw refusal(template, 'securityContext.privileged is not what runs here')
  const capabilities = objectOf(security.capabilities)
  if (JSON.stringify(capabilities.drop) !== '["ALL"]') throw refusal(template, 'capabilities must drop ALL')
  return {
    argv: [...command, ...(words(template, 'args') ?? [])],
    env: environmentOf(template, place),
    volumes: arrayOf(container.volumeMounts).map(mount => mounted(template, mount)),
    capabilities: arrayOf(capabilities.add).map(String),
    noNewPrivileges: security.allowPrivilegeEscalation === false,
    readOnlyRoot: security.readOnlyRootFilesystem === true,
    token: pod.automountServiceAccountToken === true,
    readiness: readinessOf(template),
  }
}

/** @returns the DaemonSets among objects, by name */
export const daemonSets = (objects: readonly JsonObject[]): Map<string, JsonObject> =>
  new Map(objects.filter(({ kind }) => kind === 'DaemonSet').map(each => [textAt(each, 'metadata', 'name'), each]))

/** A copy of the arguments in which a flag that is there, as `--flag=value`, has another value. */
export const withFlag = (argv: readonly string[], flag: string, value: string): string[] =>
  argv.map(word => (word.startsWith(`${flag}=`) ? `${flag}=${value}` : word))

function templateOf(object: JsonObject, list: string): Template {
  const pod = objectOf(objectOf(objectOf(object.spec).template).spec)
  const containers = arrayOf(pod[list])
  const [container] = containers
  const template = { object, pod, container: objectOf(container) }
  if (containers.length !== 1) throw refusal(template, `${list} has ${containers.length}, and the lab runs one`)
  return template
}

/** References to variables are the kubelet's to replace, and no manifest of ours has one. */
function words(template: Template, field: 'command' | 'args'): string[] | undefined {
  const value = template.container[field]
  if (value === undefined) return undefined
  const text = arrayOf(value).map(String)
  if (text.some(word => word.includes('$('))) throw refusal(template, `${field} refers to a variable`)
  return text
}

function environmentOf(template: Template, place: PodPlace): Record<string, string> {
  const { object, pod } = template
  const fields: Readonly<Record<string, string>> = {
    'spec.nodeName': place.nodeName,
    'spec.serviceAccountName': textAt(pod, 'serviceAccountName'),
    'metadata.name': place.podName,
    'metadata.namespace': textAt(object, 'metadata', 'namespace'),
    'status.hostIP': place.address,
    'status.podIP': place.address,
  }
  return Object.fromEntries(
    arrayOf(template.container.env).map(entry => {
      const name = textAt(entry, 'name')
      if (isObject(entry) && typeof entry.value === 'string') return [name, entry.value]
      const path = textAt(entry, 'valueFrom', 'fieldRef', 'fieldPath')
      const value = fields[path]
      if (value === undefined) throw refusal(template, `env ${name}: the lab does not know its value`)
      return [name, value]
    }),
  )
}

function mounted(template: Template, mount: Json): MountedVolume {
  const name = textAt(mount, 'name')
  const volume = arrayOf(template.pod.volumes).find(each => textAt(each, 'name') === name)
  const common = { mountPath: textAt(mount, 'mountPath'), readOnly: isObject(mount) && mount.readOnly === true }
  const { hostPath, configMap } = objectOf(volume)
  if (isObject(hostPath))
    return { ...common, kind: 'hostPath', path: textAt(hostPath, 'path'), type: textAt(hostPath, 'type') }
  if (isObject(configMap)) {
    const { defaultMode } = configMap
    const mode = typeof defaultMode === 'number' ? defaultMode : 0o644
    return { ...common, kind: 'configMap', name: textAt(configMap, 'name'), mode }
  }
  throw refusal(template, `volume ${name} is neither a hostPath nor a configMap`)
}

function readinessOf({ container }: Template): PodProcess['readiness'] {
  const probe = objectOf(objectOf(container.readinessProbe).httpGet)
  const named = arrayOf(container.ports).find(port => textAt(port, 'name') === probe.port)
  const port = typeof probe.port === 'number' ? probe.port : objectOf(named).containerPort
  return typeof port === 'number' ? { port, path: textAt(probe, 'path') } : undefined
}

const refusal = ({ object }: Template, what: string): LabError =>
  new LabError('ERR_LAB_STATE', `DaemonSet ${textAt(object, 'metadata', 'name')}: ${what}`)

const objectOf = (value: Json | undefined): JsonObject => (isObject(value) ? value : {})
const arrayOf = (value: Json | undefined): readonly Json[] => (isArray(value) ? value : [])
