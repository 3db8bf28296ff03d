import { type Json, type JsonObject, textAt } from './json.ts'

/** Fields of a core/v1 Event, in which events are stored, and what events.k8s.io/v1 calls them. */
const RENAMED: readonly (readonly [core: string, events: string])[] = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['reportingComponent', 'reportingController'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
]

export function eventToStored(event: JsonObject): JsonObject {
  return renamed(event, new Map(RENAMED.map(([core, events]) => [events, core])))
}

export function eventFromStored(event: JsonObject): JsonObject {
  return renamed(event, new Map(RENAMED))
}

function renamed(event: JsonObject, names: ReadonlyMap<string, string>): JsonObject {
  return Object.fromEntries(Object.entries(event).map(([key, value]): [string, Json] => [names.get(key) ?? key, value]))
}

/** When a stored event last happened, whichever generation of the API wrote it. */
export function eventLastSeen(event: JsonObject): string {
  return (
    textAt(event, 'series', 'lastObservedTime') ||
    textAt(event, 'lastTimestamp') ||
    textAt(event, 'eventTime') ||
    textAt(event, 'firstTimestamp')
  )
}

export function eventSource(event: JsonObject): string {
  const component = textAt(event, 'source', 'component') || textAt(event, 'reportingComponent')
  const host = textAt(event, 'source', 'host') || textAt(event, 'reportingInstance')
  return host === '' ? component : `${component}, ${host}`
}
