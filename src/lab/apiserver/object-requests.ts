import { mediaType, readObject, readValue } from './body.ts'
import type { Exchange } from './exchange.ts'
import { isObject, type JsonObject } from './json.ts'
import { listPage } from './list.ts'
import type { StoredObject } from './object.ts'
import { APPLY, appliedFields, applyPatch, checkApply, checkPatchType } from './patch.ts'
import { isTrue } from './query.ts'
import { type Representation, representationFor } from './representation.ts'
import type { Target } from './request-path.ts'
import { groupVersion, type Resource } from './resource.ts'
import { badRequest, invalidOption, methodNotAllowed, success } from './status.ts'
import type { Store } from './store.ts'
import type { IncludeObject } from './table.ts'
import type { WatchRequests } from './watch-requests.ts'
import { type Place, type WriteOptions, Writer } from './writer.ts'

/** get, list, watch, create, update, patch, delete and deletecollection, as RBAC and audit name them. */
export function verbOf(method: string, target: Target, query: URLSearchParams): string {
  const collection = target.name === undefined
  switch (method) {
    case 'GET':
      return collection ? (isTrue(query, 'watch') ? 'watch' : 'list') : 'get'
    case 'POST':
      return 'create'
    case 'PUT':
      return 'update'
    case 'PATCH':
      return 'patch'
    case 'DELETE':
      return collection ? 'deletecollection' : 'delete'
    default:
      return method.toLowerCase()
  }
}

/** Answers requests for objects. */
export class ObjectRequests {
  readonly #store: Store
  readonly #writer: Writer
  readonly #watches: WatchRequests

  constructor(store: Store, watches: WatchRequests) {
    this.#store = store
    this.#writer = new Writer(store)
    this.#watches = watches
  }

  /** Throws ApiError. */
  async answer(exchange: Exchange, resource: Resource, target: Target): Promise<void> {
    const query = exchange.url.searchParams
    const include = (query.get('includeObject') ?? 'Metadata') as IncludeObject // anything else counts as Metadata
    const representation = representationFor(exchange.header('accept'), include)
    const verb = verbOf(exchange.method, target, query)
    const { namespace, name, subresource } = target
    if (name === undefined) await this.#answerCollection(exchange, resource, namespace, verb, representation)
    else await this.#answerObject(exchange, { resource, namespace, name }, subresource, verb, representation)
  }

  async #answerCollection(
    exchange: Exchange,
    resource: Resource,
    namespace: string | undefined,
    verb: string,
    representation: Representation,
  ): Promise<void> {
    const query = exchange.url.searchParams
    switch (verb) {
      case 'list': {
        const { objects, meta } = listPage(this.#store, resource, namespace, query)
        return exchange.send(200, representation.list(resource, objects, meta))
      }
      case 'watch':
        return this.#watches.answer(exchange, resource, namespace, representation)
      case 'create': {
        if (resource.namespaced && namespace === undefined) throw methodNotAllowed()
        const body = await readObject(exchange)
        const object = this.#writer.create(resource, namespace, body, writeOptions(exchange))
        return exchange.send(201, representation.one(resource, object))
      }
      case 'deletecollection': {
        const { objects, meta } = listPage(this.#store, resource, namespace, query)
        for (const object of objects) this.#writer.delete(placeOf(resource, object), {}, isDryRun(exchange))
        return exchange.send(200, representation.list(resource, objects, meta))
      }
      default:
        throw methodNotAllowed()
    }
  }

  async #answerObject(
    exchange: Exchange,
    place: Place,
    subresource: string | undefined,
    verb: string,
    representation: Representation,
  ): Promise<void> {
    const { resource } = place
    const send = (code: number, object: StoredObject): Promise<void> => {
      return exchange.send(code, representation.one(resource, object))
    }
    switch (verb) {
      case 'get':
        return send(200, this.#writer.get(place))
      case 'update':
        return send(200, this.#writer.update(place, await readObject(exchange), subresource, writeOptions(exchange)))
      case 'patch': {
        const { code, object } = await this.#patch(exchange, place, subresource)
        return send(code, object)
      }
      case 'delete':
        if (subresource !== undefined) throw methodNotAllowed()
        return this.#delete(exchange, place, representation)
      default:
        throw methodNotAllowed()
    }
  }

  async #patch(
    exchange: Exchange,
    place: Place,
    subresource: string | undefined,
  ): Promise<{ code: number; object: StoredObject }> {
    const { resource, namespace, name } = place
    const type = mediaType(exchange)
    checkPatchType(resource, type)
    const patch = await readValue(exchange, type)
    const options = writeOptions(exchange)
    if (type === APPLY) {
      checkApply(patch, exchange.url.searchParams, name)
      const exists = this.#store.get(resource.collection, namespace === undefined ? name : `${namespace}/${name}`)
      if (exists === undefined && subresource === undefined) {
        return { code: 201, object: this.#writer.create(resource, namespace, appliedFields(patch), options) }
      }
    }
    const change = (current: JsonObject): JsonObject => {
      const typed = { ...current, apiVersion: groupVersion(resource), kind: resource.kind }
      return applyPatch(resource, type, patch, typed)
    }
    return { code: 200, object: this.#writer.patch(place, change, subresource, options) }
  }

  async #delete(exchange: Exchange, place: Place, representation: Representation): Promise<void> {
    const { resource } = place
    const text = await exchange.body()
    const { object, gone } = this.#writer.delete(place, deleteOptions(text), isDryRun(exchange))
    if (!gone || resource.kind === 'Pod') {
      return exchange.send(200, representation.one(resource, object))
    }
    const { name, uid } = object.metadata
    return exchange.sendJson(200, success({ group: resource.group, kind: resource.plural, name, uid }))
  }
}

function placeOf(resource: Resource, object: StoredObject): Place {
  const { name, namespace } = object.metadata
  return { resource, name, namespace: typeof namespace === 'string' ? namespace : undefined }
}

function deleteOptions(text: string): JsonObject {
  if (text === '') return {}
  try {
    const options: unknown = JSON.parse(text)
    if (isObject(options as JsonObject)) return options as JsonObject
  } catch {
    // Answered below, as what is JSON but no object.
  }
  throw badRequest('the body of the request is not a DeleteOptions')
}

const OPTIONS: Readonly<Record<string, string>> = { POST: 'CreateOptions', PUT: 'UpdateOptions', PATCH: 'PatchOptions' }

function isDryRun(exchange: Exchange): boolean {
  const values = exchange.url.searchParams.getAll('dryRun')
  if (values.every(value => value === 'All')) return values.length > 0
  const message = `Unsupported value: ${JSON.stringify(values)}: supported values: "All"`
  throw invalidOption(OPTIONS[exchange.method] ?? 'DeleteOptions', 'dryRun', 'FieldValueNotSupported', message)
}

function writeOptions(exchange: Exchange): WriteOptions {
  const unknownFields = exchange.url.searchParams.get('fieldValidation') || 'Warn'
  if (unknownFields !== 'Ignore' && unknownFields !== 'Warn' && unknownFields !== 'Strict') {
    const message = `Unsupported value: "${unknownFields}": supported values: "", "Ignore", "Strict", "Warn"`
    throw invalidOption(OPTIONS[exchange.method] ?? '', 'fieldValidation', 'FieldValueNotSupported', message)
  }
  return { unknownFields, dryRun: isDryRun(exchange), warn: text => exchange.warn(text) }
}
