import { arrayAt, isArray, isObject, type Json, textAt } from './json.ts'

type Step = (value: Json) => readonly Json[]

/**
 * The JSONPath of a printer column, as far as CRDs use it: `.spec.a`, `['a']`, `[0]`, `[*]` and `[?(@.type=="Ready")]`.
 * What is written otherwise finds nothing.
 */
export function jsonPath(text: string): (value: Json) => readonly Json[] {
  const steps = parse(text)
  return value => steps.reduce<readonly Json[]>((found, step) => found.flatMap(step), [value])
}

const STEP = /^(?:\.([^.[\]]+)|\['([^']+)'\]|\[(\d+)\]|\[(\*)\]|\[\?\(@\.([\w.]+)\s*==\s*["']([^"']*)["']\)\])/

function parse(text: string): readonly Step[] {
  const steps: Step[] = []
  let rest = text
  while (rest !== '') {
    const match = STEP.exec(rest)
    if (match === null) return [() => []]
    const [whole, dotted, quoted, index, all, field, wanted] = match
    steps.push(stepFor(dotted ?? quoted, index, all, field, wanted))
    rest = rest.slice(whole.length)
  }
  return steps
}

function stepFor(key?: string, index?: string, all?: string, field?: string, wanted?: string): Step {
  if (key !== undefined) return value => (isObject(value) ? [value[key]].filter(child => child !== undefined) : [])
  if (index !== undefined) return value => (isArray(value) ? value.slice(Number(index), Number(index) + 1) : [])
  if (all !== undefined) return value => (isArray(value) ? value : [])
  const path = field?.split('.') ?? []
  return value => arrayAt({ value }, 'value').filter(item => textAt(item, ...path) === wanted)
}
