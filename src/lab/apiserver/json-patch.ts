import { isDeepStrictEqual } from 'node:util'
import { isArray, isObject, type Json, textAt } from './json.ts'
import { ApiError, badRequest } from './status.ts'

/** JSON patch (RFC 6902). Throws 400 for what is not a patch and 422 where it does not fit the object. */
export function jsonPatch(target: Json, patch: Json): Json {
  if (!isArray(patch)) throw badRequest('error decoding patch: json: cannot unmarshal object into a list of operations')
  return patch.reduce(applyOperation, target)
}

function applyOperation(target: Json, operation: Json): Json {
  const path = pointer(textAt(operation, 'path'))
  switch (textAt(operation, 'op')) {
    case 'add':
      return edit(target, path, 'add', newValue(operation))
    case 'replace':
      read(target, path)
      return edit(target, path, 'replace', newValue(operation))
    case 'remove':
      read(target, path)
      return edit(target, path, 'remove', null)
    case 'move': {
      const from = pointer(textAt(operation, 'from'))
      return edit(edit(target, from, 'remove', null), path, 'add', read(target, from))
    }
    case 'copy':
      return edit(target, path, 'add', read(target, pointer(textAt(operation, 'from'))))
    case 'test':
      if (isDeepStrictEqual(read(target, path), newValue(operation))) return target
      throw unfit(`testing value /${path.join('/')} failed`)
    default:
      throw unfit(`unknown operation ${JSON.stringify(textAt(operation, 'op'))}`)
  }
}

function newValue(operation: Json): Json {
  const value = isObject(operation) ? operation.value : undefined
  if (value === undefined) throw badRequest('error decoding patch: an operation has no value')
  return value
}

function pointer(text: string): readonly string[] {
  if (text === '') return []
  if (!text.startsWith('/')) throw badRequest(`error decoding patch: ${JSON.stringify(text)} is not a JSON pointer`)
  return text
    .slice(1)
    .split('/')
    .map(part => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function unfit(why: string): ApiError {
  return new ApiError(422, 'Invalid', `the server rejected our request due to an error in our request: ${why}`)
}

function read(target: Json, path: readonly string[]): Json {
  let here: Json | undefined = target
  for (const part of path) {
    if (isArray(here)) here = here[indexIn(here, part, here.length - 1)]
    else here = isObject(here) && Object.hasOwn(here, part) ? here[part] : undefined
    if (here === undefined) throw unfit(`missing path: /${path.join('/')}`)
  }
  return here as Json
}

function indexIn(list: readonly Json[], part: string, last: number): number {
  const index = part === '-' ? list.length : /^(0|[1-9]\d*)$/.test(part) ? Number(part) : Number.NaN
  if (!(index <= last)) throw unfit(`no such index: ${part}`)
  return index
}

type Edit = 'add' | 'replace' | 'remove'

function edit(target: Json, path: readonly string[], how: Edit, value: Json): Json {
  const [part, ...rest] = path
  if (part === undefined) return value
  if (isArray(target)) return editList(target, part, rest, how, value)
  if (!isObject(target)) throw unfit(`missing path: ${part}`)
  if (rest.length === 0 && how === 'remove') {
    return Object.fromEntries(Object.entries(target).filter(([key]) => key !== part))
  }
  const child = Object.hasOwn(target, part) ? target[part] : undefined
  if (rest.length > 0 && child === undefined) throw unfit(`missing path: ${part}`)
  return { ...target, [part]: rest.length === 0 ? value : edit(child as Json, rest, how, value) }
}

function editList(list: readonly Json[], part: string, rest: readonly string[], how: Edit, value: Json): Json {
  const adding = rest.length === 0 && how === 'add'
  const index = indexIn(list, part, adding ? list.length : list.length - 1)
  if (adding) return list.toSpliced(index, 0, value)
  if (rest.length === 0) return how === 'remove' ? list.toSpliced(index, 1) : list.with(index, value)
  return list.with(index, edit(list[index] as Json, rest, how, value))
}
