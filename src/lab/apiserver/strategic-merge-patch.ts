import { isDeepStrictEqual } from 'node:util'
import { arrayAt, isArray, isObject, type Json, type JsonObject } from './json.ts'

/** The key that merges the list at each path (`status.conditions` → `type`); `''` for a list that is a set of values. */
export type MergeKeys = Readonly<Record<string, string>>

const DELETE_VALUES = '$deleteFromPrimitiveList/'
const DIRECTIVE = /^\$(setElementOrder\/|retainKeys|patch)/

/**
 * Strategic merge patch: a merge patch whose lists merge by key where the kind says so. `$patch: delete` and
 * `$patch: replace` and deletions from sets are honoured; the order that a patch wishes for is not.
 */
export function strategicMergePatch(target: JsonObject, patch: JsonObject, keys: MergeKeys): JsonObject {
  return mergeObjects(target, patch, keys, '')
}

function mergeObjects(target: JsonObject, patch: JsonObject, keys: MergeKeys, path: string): JsonObject {
  if (patch.$patch === 'replace') return withoutDirectives(patch)
  const merged: Record<string, Json> = { ...target }
  for (const [key, value] of Object.entries(patch)) {
    const childPath = path === '' ? key : `${path}.${key}`
    if (key.startsWith(DELETE_VALUES)) deleteValues(merged, key.slice(DELETE_VALUES.length), value)
    else if (DIRECTIVE.test(key)) continue
    else if (value === null || (isObject(value) && value.$patch === 'delete')) delete merged[key]
    else merged[key] = mergeValue(merged[key], value, keys, childPath)
  }
  return merged
}

function mergeValue(target: Json | undefined, patch: Json, keys: MergeKeys, path: string): Json {
  if (isObject(patch)) return mergeObjects(isObject(target) ? target : {}, patch, keys, path)
  const key = keys[path]
  if (!isArray(patch) || key === undefined) return patch
  const list = isArray(target) ? target : []
  return key === '' ? mergeSets(list, patch) : mergeLists(list, patch, key, keys, path)
}

function mergeSets(target: readonly Json[], patch: readonly Json[]): readonly Json[] {
  return [...target, ...patch.filter(value => !target.some(known => isDeepStrictEqual(known, value)))]
}

function mergeLists(
  target: readonly Json[],
  patch: readonly Json[],
  key: string,
  keys: MergeKeys,
  path: string,
): readonly Json[] {
  const items = patch.filter(isObject)
  if (items.some(item => item.$patch === 'replace')) return items.filter(item => item.$patch !== 'replace')
  let merged = [...target]
  for (const item of items) {
    const index = merged.findIndex(known => isObject(known) && known[key] === item[key])
    const known = merged[index]
    if (item.$patch === 'delete') merged = merged.filter((_, at) => at !== index)
    else if (isObject(known)) merged[index] = mergeObjects(known, item, keys, path)
    else merged.push(item)
  }
  return merged
}

function deleteValues(target: Record<string, Json>, key: string, values: Json): void {
  if (!isArray(values) || !isArray(target[key])) return
  target[key] = arrayAt(target, key).filter(known => !values.some(value => isDeepStrictEqual(known, value)))
}

function withoutDirectives(patch: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(patch).filter(([key]) => !key.startsWith('$')))
}
