import { ageOf } from './age.ts'
import { type Json, type JsonObject, textAt } from './json.ts'
import type { Column } from './resource.ts'

/** A column of text: the object's value at that path, or what the function makes of the object. */
export function column(name: string, from: string | ((object: JsonObject) => Json), priority = 0): Column {
  const path = typeof from === 'string' ? from.split('.') : []
  const cell = typeof from === 'string' ? (object: JsonObject) => textAt(object, ...path) : from
  return { name, type: 'string', description: '', priority, cell }
}

export const NAME: Column = { ...column('Name', 'metadata.name'), description: 'metadata.name' }

/** A column that shows how long ago the timestamp at that path was. */
export function since(name: string, from: (object: JsonObject) => string, priority = 0): Column {
  return { ...column(name, '', priority), cell: (object, now) => ageOf(from(object), now) }
}

export const AGE: Column = since('Age', object => textAt(object, 'metadata', 'creationTimestamp'))

/** What every kind shows that says nothing else. */
export const NAME_AND_AGE: readonly Column[] = [NAME, AGE]

/** Text, or what kubectl shows where there is none. */
export function orNone(text: string): string {
  return text === '' ? '<none>' : text
}
