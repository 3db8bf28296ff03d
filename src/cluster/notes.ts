import { isObject, type JsonObject, member, messageOf, objectOf, quote, textOf } from './hostile.ts'

/** Takes a sentence about something that could not be used. */
export type Fault = (sentence: string) => void

/** An annotation that is longer than this is none of ours. */
const LONGEST_VALUE = 4096

/** A value that was there and could not be used; the sentence about it is already among the faults. */
export const MALFORMED: unique symbol = Symbol('malformed')
export type Noted<T> = T | undefined | typeof MALFORMED

/** The annotations of one object. Empty counts as absent, as in Felix. */
export class Notes {
  readonly #values: JsonObject
  readonly #fault: Fault

  constructor(raw: unknown, fault: Fault) {
    this.#values = objectOf(raw)
    this.#fault = fault
    if (raw !== undefined && raw !== null && !isObject(raw)) fault('metadata.annotations is not an object')
  }

  /** The value as `parse` makes it; what that throws becomes a fault. */
  read<T>(key: string, parse: (text: string) => T): Noted<T> {
    const value = member(this.#values, key)
    if (value === undefined || value === '') return undefined
    const text = textOf(value, LONGEST_VALUE)
    try {
      if (text === undefined) throw new TypeError('is not a text of usable length')
      return parse(text)
    } catch (error) {
      this.#fault(`annotation ${key}: ${messageOf(error)}`)
      return MALFORMED
    }
  }

  /** A decimal number from 1 to `largest`. */
  number(key: string, largest: number): Noted<number> {
    return this.read(key, text => {
      const number = /^[1-9]\d{0,8}$/.test(text) ? Number(text) : Number.NaN
      if (!(number <= largest)) throw new RangeError(`${quote(text)} is not a number from 1 to ${largest}`)
      return number
    })
  }

  /** Comma-separated values. @returns undefined when there is no such annotation */
  list(key: string): readonly string[] | undefined {
    const found = this.read(key, text => text.split(',').map(part => part.trim()))
    return found === MALFORMED ? undefined : found
  }
}
