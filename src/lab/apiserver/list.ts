import { at, type Json } from './json.ts'
import { keyOf, type StoredObject } from './object.ts'
import { wholeNumber } from './query.ts'
import type { ListMeta } from './representation.ts'
import type { Resource } from './resource.ts'
import { everything, selectorOf } from './selectors.ts'
import { badRequest, expired, invalidOption, tooLargeResourceVersion } from './status.ts'
import type { Store } from './store.ts'

export interface Page {
  readonly objects: readonly StoredObject[]
  readonly meta: ListMeta
}

/** Where a list goes on: after that key, in the state of that revision (-1: whatever is there now). */
interface Continuation {
  readonly revision: number
  readonly after: string
}

const TOO_OLD_PAGE =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without ' +
  'the continue parameter, or use the continue token in this response to retrieve the remainder of the results. ' +
  'Continuing with the provided token results in an inconsistent list - objects that were created, modified, or ' +
  'deleted between the time the first chunk was returned and now may show up in the list.'

/** One page of a list, or all of it. Throws 400, 410, 422 and 504 as the real server does. */
export function listPage(
  store: Store,
  resource: Resource,
  namespace: string | undefined,
  query: URLSearchParams,
): Page {
  const limit = query.get('limit')?.startsWith('-') ? 0 : wholeNumber(query, 'limit')
  const continuation = decodeContinuation(query)
  const revision = revisionToList(store, query, limit, continuation)
  const all = store.listAt(resource.collection, revision)
  if (all === undefined && continuation !== undefined) {
    throw expired(TOO_OLD_PAGE, encodeContinuation({ revision: -1, after: continuation.after }))
  }
  if (all === undefined) throw expired('The resourceVersion for the provided list is too old.')

  const selector = selectorOf(resource, query)
  const prefix = namespace === undefined ? '' : `${namespace}/`
  const after = continuation?.after ?? ''
  const wanted = all.filter(object => {
    const key = keyOf(object)
    return key > after && key.startsWith(prefix) && selector(object)
  })
  const objects = limit === 0 ? wanted : wanted.slice(0, limit)
  const last = objects.at(-1)
  if (objects.length === wanted.length || last === undefined) {
    return { objects, meta: { resourceVersion: String(revision) } }
  }
  const meta = { resourceVersion: String(revision), continue: encodeContinuation({ revision, after: keyOf(last) }) }
  const remainingItemCount = wanted.length - objects.length
  return { objects, meta: selector === everything ? { ...meta, remainingItemCount } : meta }
}

export function forbiddenOption(field: string, why: string): Error {
  return invalidOption('ListOptions', field, 'FieldValueForbidden', `Forbidden: ${why}`)
}

function revisionToList(
  store: Store,
  query: URLSearchParams,
  limit: number,
  continuation: Continuation | undefined,
): number {
  const asked = wholeNumber(query, 'resourceVersion')
  const match = query.get('resourceVersionMatch') ?? ''
  if (!['', 'Exact', 'NotOlderThan'].includes(match)) throw forbiddenOption('resourceVersionMatch', `unknown: ${match}`)
  if (match !== '' && !query.get('resourceVersion')) {
    throw forbiddenOption(
      'resourceVersionMatch',
      'resourceVersionMatch is forbidden unless resourceVersion is provided',
    )
  }
  if (match === 'Exact' && asked === 0) {
    throw forbiddenOption('resourceVersionMatch', 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
  }
  if (continuation !== undefined) {
    if (asked > 0) throw badRequest('specifying resource version is not allowed when using continue')
    return continuation.revision < 0 ? store.revision : continuation.revision
  }
  if (asked > store.revision) throw tooLargeResourceVersion(asked, store.revision)
  // A limit with a resourceVersion and no word on how to match means exactly that version, for old clients' sake.
  const exact = match === 'Exact' || (match === '' && limit > 0 && asked > 0)
  return exact ? asked : store.revision
}

function encodeContinuation({ revision, after }: Continuation): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: revision, start: after })).toString('base64url')
}

function decodeContinuation(query: URLSearchParams): Continuation | undefined {
  const token = query.get('continue')
  if (token === null || token === '') return undefined
  const { rv, start } = parsed(token)
  if (!Number.isSafeInteger(rv) || typeof start !== 'string') throw badRequest('continue key is not valid')
  return { revision: Number(rv), after: start }
}

function parsed(token: string): { rv?: Json | undefined; start?: Json | undefined } {
  try {
    const value = JSON.parse(Buffer.from(token, 'base64url').toString()) as Json
    return { rv: at(value, 'rv'), start: at(value, 'start') }
  } catch {
    return {}
  }
}
