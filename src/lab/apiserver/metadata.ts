import { randomInt } from 'node:crypto'
import { at, isArray, isObject, type Json, type JsonObject, objectAt, plainText, typeName } from './json.ts'
import type { Resource } from './resource.ts'
import { type ApiError, badRequest, type Cause } from './status.ts'

const TYPES: Readonly<Record<string, 'string' | 'object' | 'array'>> = {
  name: 'string',
  generateName: 'string',
  namespace: 'string',
  resourceVersion: 'string',
  uid: 'string',
  labels: 'object',
  annotations: 'object',
  finalizers: 'array',
  ownerReferences: 'array',
  managedFields: 'array',
}

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const QUALIFIED = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/
/** All annotations of an object together, keys and values: as the real server has it. */
const ANNOTATIONS_LIMIT = 256 * 1024

/** Throws 400 where metadata has a field of a wrong type, as the real server's decoder does before anything else. */
export function decodeMetadata(resource: Resource, object: JsonObject): void {
  const metadata = object.metadata
  if (metadata === undefined) return
  if (!isObject(metadata)) throw undecodable(resource, 'metadata', metadata)
  for (const [field, type] of Object.entries(TYPES)) {
    const value = metadata[field]
    if (value !== undefined && value !== null && typeName(value) !== type) {
      throw undecodable(resource, `metadata.${field}`, value)
    }
  }
  for (const field of ['labels', 'annotations'] as const) {
    for (const [key, value] of Object.entries(objectAt(metadata, field))) {
      if (typeof value !== 'string') throw undecodable(resource, `metadata.${field}.${key}`, value)
    }
  }
}

function undecodable(resource: Resource, path: string, value: Json): ApiError {
  const what = `${resource.kind} in version "${resource.version}" cannot be handled as a ${resource.kind}`
  return badRequest(`${what}: json: cannot unmarshal ${typeName(value)} into Go struct field ${path}`)
}

/** The name, or one made of generateName and five random characters (of those that spell no words). */
export function nameOf(object: JsonObject): string {
  const name = at(object, 'metadata', 'name')
  const prefix = at(object, 'metadata', 'generateName')
  if (typeof name === 'string' && name !== '') return name
  if (typeof prefix !== 'string' || prefix === '') return ''
  const alphabet = 'bcdfghjklmnpqrstvwxz2456789'
  return prefix + Array.from({ length: 5 }, () => alphabet[randomInt(alphabet.length)]).join('')
}

/** What is wrong with names, labels and annotations. */
export function checkMetadata(resource: Resource, object: JsonObject): readonly Cause[] {
  const metadata = objectAt(object, 'metadata')
  return [
    ...checkName(resource, metadata),
    ...checkLabels(metadata),
    ...checkAnnotations(metadata),
    ...checkLists(metadata),
  ]
}

function* checkName(resource: Resource, metadata: JsonObject): Generator<Cause> {
  const name = plainText(metadata.name)
  if (name === '') {
    yield {
      reason: 'FieldValueRequired',
      message: 'Required value: name or generateName is required',
      field: 'metadata.name',
    }
    return
  }
  const [rule, limit] = resource.kind === 'Namespace' ? [DNS_LABEL, 63] : [SUBDOMAIN, 253]
  if (rule.test(name) && name.length <= limit) return
  yield refuse(
    'metadata.name',
    name,
    'a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters',
  )
}

function* checkLabels(metadata: JsonObject): Generator<Cause> {
  for (const [key, value] of Object.entries(objectAt(metadata, 'labels'))) {
    if (!isQualifiedName(key)) yield refuse('metadata.labels', key, 'name part must consist of alphanumeric characters')
    const text = plainText(value)
    if (text.length > 63 || !LABEL_VALUE.test(text))
      yield refuse('metadata.labels', text, 'a valid label must be short')
  }
}

function* checkAnnotations(metadata: JsonObject): Generator<Cause> {
  let size = 0
  for (const [key, value] of Object.entries(objectAt(metadata, 'annotations'))) {
    size += key.length + plainText(value).length
    if (isQualifiedName(key.toLowerCase())) continue
    yield refuse('metadata.annotations', key, 'name part must consist of alphanumeric characters')
  }
  if (size <= ANNOTATIONS_LIMIT) return
  const message = `Too long: may not be more than ${ANNOTATIONS_LIMIT} bytes`
  yield { reason: 'FieldValueTooLong', message, field: 'metadata.annotations' }
}

function* checkLists(metadata: JsonObject): Generator<Cause> {
  const finalizers = metadata.finalizers
  if (!isArray(finalizers)) return
  for (const [index, finalizer] of finalizers.entries()) {
    if (typeof finalizer === 'string' && isQualifiedName(finalizer)) continue
    yield refuse(`metadata.finalizers[${index}]`, finalizer, 'name part must consist of alphanumeric characters')
  }
}

function isQualifiedName(text: string): boolean {
  const [name = '', prefix, ...more] = text.split('/').reverse()
  const prefixFits = prefix === undefined || (prefix.length <= 253 && SUBDOMAIN.test(prefix))
  return more.length === 0 && prefixFits && name.length <= 63 && QUALIFIED.test(name)
}

function refuse(field: string, value: Json, why: string): Cause {
  return { reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${why}`, field }
}
