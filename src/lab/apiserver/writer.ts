import { type Admitted, admitCreate, admitUpdate, checkPreconditions, sameObject } from './admission.ts'
import { CUSTOM_RESOURCE_DEFINITIONS } from './custom-resources.ts'
import { arrayAt, at, type JsonObject, objectAt, textAt } from './json.ts'
import { keyOf, type StoredObject, withMeta } from './object.ts'
import { type Resource, subjectOf } from './resource.ts'
import { alreadyExists, badRequest, notFound } from './status.ts'
import type { Store } from './store.ts'
import { timestamp } from './timestamp.ts'

/** What `fieldValidation` and `dryRun` in the query ask of a write. */
export interface WriteOptions {
  readonly unknownFields: 'Ignore' | 'Warn' | 'Strict'
  readonly dryRun: boolean
  /** Told of each unknown field that was dropped, where the client wants to be warned. */
  readonly warn: (text: string) => void
}

/** One object's place: its resource, namespace and name. */
export interface Place {
  readonly resource: Resource
  readonly namespace: string | undefined
  readonly name: string
}

/** Writes of single objects, as the real server orders their checks. Every method throws ApiError. */
export class Writer {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  get(place: Place): StoredObject {
    const found = this.#store.get(place.resource.collection, placeKey(place))
    if (found === undefined) throw notFound(subjectOf(place.resource, place.name))
    return found
  }

  create(resource: Resource, namespace: string | undefined, body: JsonObject, options: WriteOptions): StoredObject {
    const admitted = admitCreate(resource, body, namespace)
    report(resource, admitted, options)
    if (namespace !== undefined && this.#store.get('namespaces', namespace) === undefined) {
      throw notFound({ group: '', kind: 'namespaces', name: namespace })
    }
    if (this.#store.get(resource.collection, keyOf(admitted.object)) !== undefined) {
      throw alreadyExists(subjectOf(resource, textAt(admitted.object, 'metadata', 'name')))
    }
    if (options.dryRun) return admitted.object as StoredObject
    return this.#store.put(resource.collection, admitted.object)
  }

  update(place: Place, body: JsonObject, subresource: string | undefined, options: WriteOptions): StoredObject {
    return this.#replace(place, this.get(place), body, subresource, options)
  }

  /** Replaces the object by what the function makes of the current one, in the version that the client speaks. */
  patch(
    place: Place,
    change: (current: JsonObject) => JsonObject,
    subresource: string | undefined,
    options: WriteOptions,
  ): StoredObject {
    const current = this.get(place)
    const served = (place.resource.fromStored ?? (object => object))(current)
    return this.#replace(place, current, change(served), subresource, options)
  }

  /** Deletes, or marks as being deleted where finalizers stand. Returns the last state and whether it is gone. */
  delete(place: Place, body: JsonObject, dryRun: boolean): { object: StoredObject; gone: boolean } {
    const { resource } = place
    const current = this.get(place)
    checkPreconditions(resource, current, objectAt(body, 'preconditions'))
    const gone = arrayAt(current, 'metadata', 'finalizers').length === 0
    if (dryRun) return { object: current, gone }
    if (gone) return { object: this.#remove(place, current), gone }
    if (at(current, 'metadata', 'deletionTimestamp') !== undefined) return { object: current, gone }
    const marked = withMeta(current, { deletionTimestamp: timestamp() })
    return { object: this.#store.put(resource.collection, marked), gone }
  }

  #replace(
    place: Place,
    current: StoredObject,
    body: JsonObject,
    subresource: string | undefined,
    options: WriteOptions,
  ): StoredObject {
    const { resource } = place
    const admitted = admitUpdate(resource, current, body, subresource)
    report(resource, admitted, options)
    const { object } = admitted
    if (sameObject(object, current)) return current
    if (options.dryRun) return withMeta(object, { resourceVersion: current.metadata.resourceVersion }) as StoredObject
    const released = arrayAt(object, 'metadata', 'finalizers').length === 0
    const stored = this.#store.put(resource.collection, object)
    if (released && at(object, 'metadata', 'deletionTimestamp') !== undefined) return this.#remove(place, stored)
    return stored
  }

  /** Removes an object and what cannot be without it: objects of a deleted kind or namespace. */
  #remove(place: Place, current: StoredObject): StoredObject {
    const { resource } = place
    if (resource === CUSTOM_RESOURCE_DEFINITIONS) this.#empty(current.metadata.name)
    if (resource.kind === 'Namespace') {
      for (const collection of this.#store.collections) this.#empty(collection, `${current.metadata.name}/`)
    }
    return this.#store.remove(resource.collection, placeKey(place)) ?? current
  }

  #empty(collection: string, prefix = ''): void {
    for (const object of this.#store.list(collection)) {
      if (keyOf(object).startsWith(prefix)) this.#store.remove(collection, keyOf(object))
    }
  }
}

function placeKey({ namespace, name }: Place): string {
  return namespace === undefined ? name : `${namespace}/${name}`
}

function report(resource: Resource, { unknown }: Admitted, { unknownFields, warn }: WriteOptions): void {
  if (unknown.length === 0 || unknownFields === 'Ignore') return
  const texts = unknown.map(path => `unknown field "${path}"`)
  if (unknownFields === 'Strict') {
    const what = `${resource.kind} in version "${resource.version}" cannot be handled as a ${resource.kind}`
    throw badRequest(`${what}: strict decoding error: ${texts.join(', ')}`)
  }
  for (const text of texts) warn(text)
}
