import type { Check } from './diagnose.ts'
import { count, type Paint, type Tone } from './format.ts'

const MARKS: Readonly<Record<Check['result'], readonly [Tone, string]>> = {
  ok: ['good', 'ok'],
  warn: ['warn', 'warn'],
  fail: ['bad', 'FAIL'],
  skip: ['faint', 'skip'],
}

/** The checks for a person, in their order, each that is not well with what to do. */
export function diagnoseView(checks: readonly Check[], paint: Paint): string {
  const width = Math.max(...checks.map(({ name }) => name.length))
  const lines = checks.flatMap(({ name, result, found, remedy }) => {
    const [tone, word] = MARKS[result]
    const line = `${paint(tone, word.padEnd(4))}  ${name.padEnd(width)}  ${found}`
    return remedy === '' ? [line] : [line, `${' '.repeat(width + 8)}-> ${remedy}`]
  })
  const bad = checks.filter(({ result }) => result === 'fail').length
  const verdict =
    bad === 0 ? paint('good', 'nothing is wrong on this node') : paint('bad', `${count(bad, 'check')} failed`)
  return [...lines, '', verdict].join('\n')
}
