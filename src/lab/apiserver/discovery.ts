import type { JsonObject } from './json.ts'
import type { Registry } from './registry.ts'
import type { Resource } from './resource.ts'

/** The Kubernetes whose API this speaks, as far as it speaks it. */
export const VERSION: JsonObject = {
  major: '1',
  minor: '33',
  gitVersion: 'v1.33.0+podveil-lab',
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '2025-04-23T00:00:00Z',
  goVersion: '',
  compiler: '',
  platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
}

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']
const STATUS_VERBS = ['get', 'patch', 'update']

/** GET /api */
export function coreVersions(): JsonObject {
  return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }
}

/** GET /apis */
export function groupList(registry: Registry): JsonObject {
  const groups = [...registry.versionsByGroup().keys()].flatMap(name => apiGroup(registry, name) ?? [])
  return { kind: 'APIGroupList', apiVersion: 'v1', groups }
}

/** GET /apis/GROUP; undefined where there is no such group. */
export function apiGroup(registry: Registry, name: string): JsonObject | undefined {
  const versions = registry
    .versionsByGroup()
    .get(name)
    ?.map(version => ({ groupVersion: `${name}/${version}`, version }))
  if (versions?.[0] === undefined) return undefined
  return { kind: 'APIGroup', apiVersion: 'v1', name, versions, preferredVersion: versions[0] }
}

/** GET /api/v1 and /apis/GROUP/VERSION; undefined where there is no such version. */
export function resourceList(registry: Registry, groupVersion: string): JsonObject | undefined {
  const found = registry.byGroupVersion().get(groupVersion)
  if (found === undefined) return undefined
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources: found.flatMap(entries) }
}

function entries(resource: Resource): JsonObject[] {
  const { plural, singular, namespaced, kind, shortNames, status } = resource
  const own = { name: plural, singularName: singular, namespaced, kind, verbs: VERBS }
  const entry: JsonObject = shortNames.length === 0 ? own : { ...own, shortNames }
  if (status === 'none') return [entry]
  return [entry, { name: `${plural}/status`, singularName: '', namespaced, kind, verbs: STATUS_VERBS }]
}

/** The versions of aggregated discovery that are served; their shape is one. */
const AGGREGATED =
  /application\/json;(?=[^,]*as=APIGroupDiscoveryList)(?=[^,]*g=apidiscovery\.k8s\.io)[^,]*v=(v2beta1|v2)(?=[;,]|$)/

/** The version of aggregated discovery that a client asks for (v2 or v2beta1), or undefined where it asks for none. */
export function aggregatedVersion(accept: string): string | undefined {
  return AGGREGATED.exec(accept.replaceAll(' ', ''))?.[1]
}

export function aggregatedContentType(version: string): string {
  return `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`
}

/** GET /api or /apis with that Accept: everything at once. */
export function aggregated(registry: Registry, version: string, core: boolean): JsonObject {
  const groups = core ? [''] : [...registry.versionsByGroup().keys()]
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map(group => aggregatedGroup(registry, group)),
  }
}

function aggregatedGroup(registry: Registry, group: string): JsonObject {
  const resources = registry.resources.filter(resource => resource.group === group)
  const versions = [...Map.groupBy(resources, ({ version }) => version)]
  return {
    metadata: group === '' ? {} : { name: group },
    versions: versions.map(([version, list]) => ({
      version,
      freshness: 'Current',
      resources: list.map(aggregatedEntry),
    })),
  }
}

function aggregatedEntry(resource: Resource): JsonObject {
  const { group, version, kind, plural, singular, namespaced, shortNames, status } = resource
  const responseKind = { group, version, kind }
  return {
    resource: plural,
    responseKind,
    scope: namespaced ? 'Namespaced' : 'Cluster',
    singularResource: singular,
    verbs: VERBS,
    shortNames,
    ...(status !== 'none' && { subresources: [{ subresource: 'status', responseKind, verbs: STATUS_VERBS }] }),
  }
}
