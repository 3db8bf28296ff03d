import { at, type JsonObject, plainText } from './json.ts'
import { textMap } from './object.ts'
import type { Resource } from './resource.ts'
import { badRequest } from './status.ts'

/** Whether a list or watch wants the object. */
export type Selector = (object: JsonObject) => boolean

export const everything: Selector = () => true

/** A selector that every object passes is `everything` itself, so that a list knows what it may count. */
export function selectorOf(resource: Resource, query: URLSearchParams): Selector {
  const tests = [
    ...fieldTests(resource, query.get('fieldSelector') ?? ''),
    ...labelTests(query.get('labelSelector') ?? ''),
  ]
  return tests.length === 0 ? everything : object => tests.every(test => test(object))
}

function fieldTests(resource: Resource, text: string): Selector[] {
  return splitTerms(text).map(term => {
    const match = /^([^=!]+?)\s*(!=|==|=)\s*(.*)$/.exec(term)
    if (match === null) throw badRequest(`invalid field selector: ${term}`)
    const [, path = '', operator, wanted] = match
    if (!['metadata.name', 'metadata.namespace', ...resource.selectable].includes(path)) {
      throw badRequest(`field label not supported: ${path}`)
    }
    const keys = path.split('.')
    const served = resource.fromStored ?? (object => object)
    return object => {
      return (plainText(at(served(object), ...keys)) === wanted) === (operator !== '!=')
    }
  })
}

function labelTests(text: string): Selector[] {
  return splitTerms(text).map(term => {
    const test = labelTest(term)
    if (test === undefined) throw badRequest(`unable to parse requirement: ${term}`)
    return object => test(textMap(object, 'labels'))
  })
}

type LabelTest = (labels: Readonly<Record<string, string>>) => boolean

const KEY = '([A-Za-z0-9][A-Za-z0-9._/-]*)'
const SET = new RegExp(`^${KEY}\\s+(in|notin)\\s*\\(([^()]*)\\)$`)
const EQUALITY = new RegExp(`^${KEY}\\s*(!=|==|=)\\s*([A-Za-z0-9._-]*)$`)
const EXISTENCE = new RegExp(`^(!?)\\s*${KEY}$`)

function labelTest(term: string): LabelTest | undefined {
  const set = SET.exec(term)
  if (set !== null) {
    const [, key = '', operator, list = ''] = set
    const values = list.split(',').map(value => value.trim())
    return labels => {
      const value = labels[key]
      // A label that is absent is not among the values: notin takes it.
      return (value !== undefined && values.includes(value)) === (operator === 'in')
    }
  }
  const equality = EQUALITY.exec(term)
  if (equality !== null) {
    const [, key = '', operator, value] = equality
    return labels => (labels[key] === value) === (operator !== '!=')
  }
  const existence = EXISTENCE.exec(term)
  if (existence === null) return undefined
  const [, not, key = ''] = existence
  return labels => Object.hasOwn(labels, key) === (not === '')
}

/** Terms are joined by commas; those between the brackets of a set do not count. */
function splitTerms(text: string): string[] {
  return text
    .split(/,(?![^()]*\))/)
    .map(term => term.trim())
    .filter(term => term !== '')
}
