import {
  aggregated,
  aggregatedContentType,
  aggregatedVersion,
  apiGroup,
  coreVersions,
  groupList,
  resourceList,
  VERSION,
} from './discovery.ts'
import type { Exchange } from './exchange.ts'
import type { JsonObject } from './json.ts'
import type { ObjectRequests } from './object-requests.ts'
import { openapiDocument, openapiIndex, openapiV2 } from './openapi.ts'
import type { Registry } from './registry.ts'
import type { Target } from './request-path.ts'
import { type Resource, subjectOf } from './resource.ts'
import { ApiError, methodNotAllowed, notFound } from './status.ts'

const HEALTH = /^\/(healthz|livez|readyz)(\/[\w-]+)?$/
/** As the real server spells it: with the `@` that clients send for the second dot it would be no media type. */
const OPENAPI_V2_PROTO = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf'

/** Whether anybody may ask, with or without a token: health and version. */
export function isPublic(path: string): boolean {
  return HEALTH.test(path) || path === '/version'
}

/** Answers a request that is authenticated. */
export class Router {
  readonly #registry: Registry
  readonly #objects: ObjectRequests

  constructor(registry: Registry, objects: ObjectRequests) {
    this.#registry = registry
    this.#objects = objects
  }

  /** Throws ApiError. */
  async answer(exchange: Exchange, target: Target | undefined): Promise<void> {
    const { pathname } = exchange.url
    const resource = target && this.#registry.find(target.group, target.version, target.plural)
    if (target !== undefined && resource !== undefined && isServed(target, resource)) {
      return this.#objects.answer(exchange, resource, target)
    }
    if (HEALTH.test(pathname)) return exchange.send(200, 'ok', 'text/plain; charset=utf-8')
    const document = this.#document(pathname.replace(/(.)\/$/, '$1'), exchange.header('accept'))
    if (document === undefined) return notServed(exchange, target, resource)
    if (exchange.method !== 'GET') throw methodNotAllowed()
    return exchange.send(200, document.text, document.type)
  }

  #document(path: string, accept: string): { text: string; type: string } | undefined {
    const registry = this.#registry
    const version = path === '/api' || path === '/apis' ? aggregatedVersion(accept) : undefined
    if (version !== undefined) {
      const text = JSON.stringify(aggregated(registry, version, path === '/api'))
      return { text, type: aggregatedContentType(version) }
    }
    // An empty message is a whole document in protobuf: kubectl, which reads nothing else here, finds no schema in it and
    // uses what it has built in.
    if (path === '/openapi/v2' && accept.includes('protobuf')) return { text: '', type: OPENAPI_V2_PROTO }
    const found = this.#json(path)
    return found && { text: `${JSON.stringify(found)}\n`, type: 'application/json' }
  }

  #json(path: string): JsonObject | undefined {
    const registry = this.#registry
    const [, root = '', group, version, ...more] = path.split('/')
    if (path === '/')
      return { paths: ['/api', '/apis', '/healthz', '/livez', '/openapi/v2', '/openapi/v3', '/version'] }
    if (path === '/version') return VERSION
    if (path === '/openapi/v2') return openapiV2()
    if (path === '/openapi/v3') return openapiIndex(registry)
    if (path.startsWith('/openapi/v3/')) return openapiDocument(registry, path.slice('/openapi/v3/'.length))
    if (more.length > 0) return undefined
    if (root === 'api' && version === undefined)
      return group === undefined ? coreVersions() : resourceList(registry, group)
    if (root !== 'apis') return undefined
    if (group === undefined) return groupList(registry)
    return version === undefined ? apiGroup(registry, group) : resourceList(registry, `${group}/${version}`)
  }
}

/** The real server answers for its own kinds with a Status; for groups of custom resources it does as for any path. */
async function notServed(
  exchange: Exchange,
  target: Target | undefined,
  resource: Resource | undefined,
): Promise<void> {
  if (target?.name !== undefined && resource?.schema !== undefined) throw notFound(subjectOf(resource, target.name))
  const own = target !== undefined && (target.group === '' || resource !== undefined)
  if (own) throw new ApiError(404, 'NotFound', 'the server could not find the requested resource')
  await exchange.send(404, '404 page not found\n', 'text/plain; charset=utf-8')
}

function isServed(target: Target, resource: Resource): boolean {
  const { namespace, name, subresource } = target
  if (subresource !== undefined && (subresource !== 'status' || resource.status === 'none')) return false
  if (namespace !== undefined && !resource.namespaced) return false
  // Objects with a namespace are read across namespaces as a whole only.
  return namespace !== undefined || !resource.namespaced || name === undefined
}
