import { createHash } from 'node:crypto'
import type { JsonObject } from './json.ts'
import type { Registry } from './registry.ts'
import { pathTemplate } from './request-path.ts'
import type { Resource } from './resource.ts'
import { groupVersion } from './resource.ts'

const OBJECT_META: JsonObject = {
  type: 'object',
  description: 'Standard object metadata.',
  properties: {
    name: { type: 'string' },
    namespace: { type: 'string' },
    labels: { type: 'object', additionalProperties: { type: 'string' } },
    annotations: { type: 'object', additionalProperties: { type: 'string' } },
    uid: { type: 'string' },
    resourceVersion: { type: 'string' },
    generation: { type: 'integer', format: 'int64' },
    creationTimestamp: { type: 'string', format: 'date-time' },
    deletionTimestamp: { type: 'string', format: 'date-time' },
    finalizers: { type: 'array', items: { type: 'string' } },
  },
}

/** GET /openapi/v3: where the document of each group and version is. */
export function openapiIndex(registry: Registry): JsonObject {
  const paths = [...registry.byGroupVersion()].map(([name, resources]) => {
    const path = pathOf(name)
    const hash = createHash('sha256')
      .update(JSON.stringify(document(resources)))
      .digest('hex')
    return [path, { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` }] as const
  })
  return { paths: Object.fromEntries(paths) }
}

/** GET /openapi/v3/PATH; undefined where there is no such group and version. */
export function openapiDocument(registry: Registry, path: string): JsonObject | undefined {
  const found = [...registry.byGroupVersion()].find(([name]) => pathOf(name) === path)
  return found === undefined ? undefined : document(found[1])
}

/** GET /openapi/v2 in JSON: the frame, for clients that only want to know that it is there. */
export function openapiV2(): JsonObject {
  return { swagger: '2.0', info: { title: 'Kubernetes', version: 'lab' }, paths: {}, definitions: {} }
}

function pathOf(name: string): string {
  return name.includes('/') ? `apis/${name}` : `api/${name}`
}

function document(resources: readonly Resource[]): JsonObject {
  const paths = resources.map(resource => [objectPath(resource), operations(resource)] as const)
  const schemas = resources.map(resource => [schemaName(resource), schemaOf(resource)] as const)
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: 'lab' },
    paths: Object.fromEntries(paths),
    components: { schemas: Object.fromEntries(schemas) },
  }
}

function objectPath({ group, version, plural, namespaced }: Resource): string {
  const namespace = namespaced ? 'namespace' : undefined
  return pathTemplate({ group, version, plural, namespace, name: 'name', subresource: undefined })
}

/** What kubectl looks for: that a write of this kind takes fieldValidation, so that the server validates and not kubectl. */
function operations(resource: Resource): JsonObject {
  const { group, version, kind } = resource
  const parameters = ['dryRun', 'fieldManager', 'fieldValidation', 'force'].map(name => {
    return { name, in: 'query', schema: { type: name === 'force' ? 'boolean' : 'string' } }
  })
  const about = { 'x-kubernetes-group-version-kind': { group, version, kind } }
  const content = { 'application/json': { schema: { $ref: `#/components/schemas/${schemaName(resource)}` } } }
  const responses = { 200: { description: 'OK', content } }
  return {
    get: { ...about, 'x-kubernetes-action': 'get', responses },
    put: { ...about, 'x-kubernetes-action': 'put', parameters, responses },
    patch: { ...about, 'x-kubernetes-action': 'patch', parameters, responses },
  }
}

function schemaName({ group, version, kind }: Resource): string {
  const domain = group === '' ? ['io', 'k8s', 'api', 'core'] : group.split('.').reverse()
  return [...domain, version, kind].join('.')
}

function schemaOf(resource: Resource): JsonObject {
  const { group, version, kind, description } = resource
  const own = resource.schema?.openapi ?? { description, properties: { spec: OPEN, status: OPEN } }
  return {
    ...own,
    type: 'object',
    properties: {
      apiVersion: { type: 'string', description: `Always ${groupVersion(resource)}.` },
      kind: { type: 'string', description: `Always ${kind}.` },
      ...(own.properties as JsonObject | undefined),
      metadata: OBJECT_META,
    },
    'x-kubernetes-group-version-kind': [{ group, version, kind }],
  }
}

const OPEN: JsonObject = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }
