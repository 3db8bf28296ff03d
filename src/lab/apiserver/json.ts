/** What JSON can say. Objects of the API are never changed in place: history, watches and lists share them. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject

export interface JsonObject {
  readonly [key: string]: Json
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isArray(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value)
}

/** The object at that place, or an empty one where there is none. */
export function objectAt(value: Json | undefined, ...path: string[]): JsonObject {
  const found = at(value, ...path)
  return isObject(found) ? found : {}
}

/** The array at that place, or an empty one where there is none. */
export function arrayAt(value: Json | undefined, ...path: string[]): readonly Json[] {
  const found = at(value, ...path)
  return isArray(found) ? found : []
}

/** The text at that place, or '' where there is none. */
export function textAt(value: Json | undefined, ...path: string[]): string {
  const found = at(value, ...path)
  return typeof found === 'string' ? found : ''
}

/** A plain value as text; '' for null, lists and objects. */
export function plainText(value: Json | undefined): string {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : ''
}

export function at(value: Json | undefined, ...path: string[]): Json | undefined {
  let here = value
  for (const key of path) {
    if (!isObject(here) || !Object.hasOwn(here, key)) return undefined
    here = here[key]
  }
  return here
}

/** The object without those keys. */
export function without(object: JsonObject, ...keys: string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)))
}

/** JSON's name for the type, as OpenAPI spells it. */
export function typeName(value: Json): 'string' | 'number' | 'integer' | 'boolean' | 'null' | 'array' | 'object' {
  if (value === null) return 'null'
  if (isArray(value)) return 'array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number'
  return typeof value === 'object' ? 'object' : (typeof value as 'string' | 'boolean')
}
