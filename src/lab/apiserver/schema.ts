import { isArray, isObject, type Json, type JsonObject, objectAt } from './json.ts'
import { checkValue } from './schema-check.ts'
import type { Cause } from './status.ts'

/** What is left of an object after its schema: known fields and defaults, and the paths of what was dropped. */
export interface Shaped {
  readonly object: JsonObject
  readonly unknown: readonly string[]
}

/** Fields of every object, which a structural schema does not have to name. */
const COMMON = ['apiVersion', 'kind', 'metadata']

/** The structural schema of one version of a CustomResourceDefinition (`openAPIV3Schema`). */
export class ObjectSchema {
  readonly openapi: JsonObject

  constructor(openapi: JsonObject) {
    this.openapi = openapi
  }

  /** Drops fields that the schema does not know, unless it preserves them, and fills in defaults. */
  shape(object: JsonObject): Shaped {
    const unknown: string[] = []
    const shaped: Record<string, Json> = {}
    for (const key of COMMON) {
      const value = object[key]
      if (value !== undefined) shaped[key] = value
    }
    const rest = Object.fromEntries(Object.entries(object).filter(([key]) => !COMMON.includes(key)))
    const kept = shapeValue(rest, this.openapi, '', unknown)
    return { object: { ...shaped, ...(isObject(kept) ? kept : {}) }, unknown }
  }

  /** Every reason why the schema refuses the object; none where it is valid. */
  check(object: JsonObject): readonly Cause[] {
    const rest = Object.fromEntries(Object.entries(object).filter(([key]) => !COMMON.includes(key)))
    return checkValue(rest, this.openapi, '')
  }
}

function shapeValue(value: Json, schema: JsonObject, path: string, unknown: string[]): Json {
  if (isArray(value)) {
    const items = objectAt(schema, 'items')
    return value.map((item, index) => shapeValue(item, items, `${path}[${index}]`, unknown))
  }
  if (!isObject(value)) return value
  return withDefaults(shapeObject(value, schema, path, unknown), objectAt(schema, 'properties'))
}

function shapeObject(value: JsonObject, schema: JsonObject, path: string, unknown: string[]): Record<string, Json> {
  const properties = objectAt(schema, 'properties')
  const others = schema.additionalProperties
  const preserve = schema['x-kubernetes-preserve-unknown-fields'] === true || others === true
  const kept: Record<string, Json> = {}
  for (const [key, child] of Object.entries(value)) {
    const childPath = path === '' ? key : `${path}.${key}`
    const childSchema = Object.hasOwn(properties, key) ? properties[key] : others
    // A null where null is not allowed counts as absent.
    if (isObject(childSchema) && child === null && childSchema.nullable !== true) continue
    if (isObject(childSchema)) kept[key] = shapeValue(child, childSchema, childPath, unknown)
    else if (preserve) kept[key] = child
    else unknown.push(childPath)
  }
  return kept
}

function withDefaults(value: Record<string, Json>, properties: JsonObject): JsonObject {
  for (const [key, schema] of Object.entries(properties)) {
    const fallback = isObject(schema) ? schema.default : undefined
    if (fallback === undefined || !isObject(schema)) continue
    if (value[key] === undefined) value[key] = shapeValue(fallback, schema, key, [])
  }
  return value
}
