import { arrayAt, isArray, isObject, type Json, type JsonObject, objectAt, plainText, typeName } from './json.ts'
import { formatMatches } from './schema-format.ts'
import type { Cause } from './status.ts'

// Reasons and sentences are the real server's, so that a client that reads them meets the same text.

/** Every reason why that part of a structural schema refuses the value; `path` is '' for the object itself. */
export function checkValue(value: Json, schema: JsonObject, path: string): readonly Cause[] {
  const wrongType = checkType(value, schema, path)
  if (wrongType !== undefined) return [wrongType]
  if (value === null) return []
  const causes = [...checkEnum(value, schema, path)]
  if (typeof value === 'string') causes.push(...checkText(value, schema, path))
  else if (typeof value === 'number') causes.push(...checkNumber(value, schema, path))
  else if (isArray(value)) causes.push(...checkArray(value, schema, path))
  else if (isObject(value)) causes.push(...checkObject(value, schema, path))
  return causes
}

function refused(path: string, value: Json, why: string): Cause {
  const message = `Invalid value: ${JSON.stringify(value)}: ${path} in body ${why}`
  return { reason: 'FieldValueInvalid', message, field: path }
}

function checkType(value: Json, schema: JsonObject, path: string): Cause | undefined {
  const type = typeName(value)
  if (type === 'null' && schema.nullable === true) return undefined
  const wanted = schema.type
  const intOrString = schema['x-kubernetes-int-or-string'] === true
  const fits = intOrString
    ? type === 'integer' || type === 'string'
    : typeof wanted !== 'string' || type === wanted || (type === 'integer' && wanted === 'number')
  if (fits) return undefined
  const name = intOrString ? 'integer,string' : plainText(wanted)
  const message = `Invalid value: "${type}": ${path} in body must be of type ${name}: "${type}"`
  return { reason: 'FieldValueTypeInvalid', message, field: path }
}

function* checkEnum(value: Json, schema: JsonObject, path: string): Generator<Cause> {
  const allowed = schema.enum
  if (!isArray(allowed)) return
  const texts = allowed.map(item => JSON.stringify(item))
  if (texts.includes(JSON.stringify(value))) return
  const message = `Unsupported value: ${JSON.stringify(value)}: supported values: ${texts.join(', ')}`
  yield { reason: 'FieldValueNotSupported', message, field: path }
}

function* checkText(value: string, schema: JsonObject, path: string): Generator<Cause> {
  const { maxLength, minLength, pattern, format } = schema
  const length = Array.from(value).length
  if (typeof maxLength === 'number' && length > maxLength) {
    yield { reason: 'FieldValueTooLong', message: `Too long: may not be more than ${maxLength} bytes`, field: path }
  }
  if (typeof minLength === 'number' && length < minLength) {
    yield refused(path, value, `should be at least ${minLength} chars long`)
  }
  if (typeof pattern === 'string' && !compiled(pattern).test(value)) {
    yield refused(path, value, `should match '${pattern}'`)
  }
  if (typeof format === 'string' && !formatMatches(format, value)) {
    const cause = refused(path, value, `must be of type ${format}: ${JSON.stringify(value)}`)
    yield { ...cause, reason: 'FieldValueTypeInvalid' }
  }
}

function* checkNumber(value: number, schema: JsonObject, path: string): Generator<Cause> {
  const { minimum, maximum } = schema
  if (typeof minimum === 'number' && value < minimum) {
    yield refused(path, value, `should be greater than or equal to ${minimum}`)
  }
  if (typeof maximum === 'number' && value > maximum) {
    yield refused(path, value, `should be less than or equal to ${maximum}`)
  }
}

function* checkArray(value: readonly Json[], schema: JsonObject, path: string): Generator<Cause> {
  const { minItems, maxItems } = schema
  if (typeof maxItems === 'number' && value.length > maxItems) {
    const message = `Too many: ${value.length}: must have at most ${maxItems} items`
    yield { reason: 'FieldValueTooMany', message, field: path }
  }
  if (typeof minItems === 'number' && value.length < minItems) {
    yield refused(path, value.length, `should have at least ${minItems} items`)
  }
  yield* checkUnique(value, schema, path)
  const items = objectAt(schema, 'items')
  for (const [index, item] of value.entries()) yield* checkValue(item, items, `${path}[${index}]`)
}

/** Lists that are sets, or maps by a key, hold nothing twice. */
function* checkUnique(value: readonly Json[], schema: JsonObject, path: string): Generator<Cause> {
  const listType = schema['x-kubernetes-list-type']
  if (listType !== 'set' && listType !== 'map') return
  const keys = arrayAt(schema, 'x-kubernetes-list-map-keys').filter(key => typeof key === 'string')
  const seen = new Set<string>()
  for (const [index, item] of value.entries()) {
    const identity = listType === 'set' ? item : Object.fromEntries(keys.map(key => [key, objectAt(item)[key] ?? null]))
    const text = JSON.stringify(identity)
    if (seen.has(text)) {
      yield { reason: 'FieldValueDuplicate', message: `Duplicate value: ${text}`, field: `${path}[${index}]` }
    }
    seen.add(text)
  }
}

function* checkObject(value: JsonObject, schema: JsonObject, path: string): Generator<Cause> {
  const prefix = path === '' ? '' : `${path}.`
  for (const key of arrayAt(schema, 'required')) {
    if (typeof key !== 'string' || Object.hasOwn(value, key)) continue
    yield { reason: 'FieldValueRequired', message: 'Required value', field: `${prefix}${key}` }
  }
  const { maxProperties } = schema
  if (typeof maxProperties === 'number' && Object.keys(value).length > maxProperties) {
    const message = `Too many: ${Object.keys(value).length}: must have at most ${maxProperties} items`
    yield { reason: 'FieldValueTooMany', message, field: path }
  }
  const properties = objectAt(schema, 'properties')
  const others = schema.additionalProperties
  for (const [key, child] of Object.entries(value)) {
    const childSchema = Object.hasOwn(properties, key) ? properties[key] : others
    if (isObject(childSchema)) yield* checkValue(child, childSchema, `${prefix}${key}`)
  }
}

const patterns = new Map<string, RegExp>()

/** Patterns of a CRD are Go's; the one construct of Calico's that JavaScript spells otherwise is `(?i)` in front. */
function compiled(pattern: string): RegExp {
  const known = patterns.get(pattern)
  if (known !== undefined) return known
  const ignoreCase = /^(\^?)\(\?i\)/
  const made = new RegExp(pattern.replace(ignoreCase, '$1'), ignoreCase.test(pattern) ? 'iu' : 'u')
  patterns.set(pattern, made)
  return made
}
