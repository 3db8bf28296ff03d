import { badRequest } from './status.ts'

/** A flag in a query, spelt as Go spells booleans; absent is false. */
export function isTrue(query: URLSearchParams, parameter: string): boolean {
  return ['1', 'true', 't', 'T', 'TRUE', 'True'].includes(query.get(parameter) ?? '')
}

/** A resourceVersion, limit or timeout in a query; 0 where there is none. Throws 400 for what is no number. */
export function wholeNumber(query: URLSearchParams, parameter: string): number {
  const text = query.get(parameter) ?? ''
  if (!/^\d{0,15}$/.test(text)) throw badRequest(`${parameter}: Invalid value: ${JSON.stringify(text)}: not a number`)
  return Number(text)
}
