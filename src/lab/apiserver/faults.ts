import { setTimeout as wait } from 'node:timers/promises'
import { ApiError } from './status.ts'

/** Which requests a fault is for. What is absent matches all. */
export interface FaultMatch {
  readonly user?: string
  /** get, list, watch, create, update, patch, delete or deletecollection. */
  readonly verb?: string
  /** A part of the path. */
  readonly path?: string
}

/** What goes wrong. A fault may delay and then answer; one that answers nothing lets the request go on. */
export interface Fault extends FaultMatch {
  readonly delayMs?: number
  readonly answer?: { readonly code: number; readonly retryAfterSeconds?: number }
  /** How many requests it befalls; all of them where absent. */
  readonly times?: number
}

export interface FaultTarget {
  readonly user: string
  readonly verb: string
  readonly path: string
}

const REASONS: Readonly<Record<number, string>> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Expired',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
}

/** The faults that are set, and whether the server has fallen silent. */
export class Faults {
  readonly #faults = new Map<number, { readonly fault: Fault; left: number }>()
  #next = 1
  #silence: PromiseWithResolvers<void> | undefined

  /** Sets a fault; returns a number to lift it by. */
  set(fault: Fault): number {
    const id = this.#next++
    this.#faults.set(id, { fault, left: fault.times ?? Number.POSITIVE_INFINITY })
    return id
  }

  lift(id: number): void {
    this.#faults.delete(id)
  }

  liftAll(): void {
    this.#faults.clear()
  }

  get silent(): boolean {
    return this.#silence !== undefined
  }

  /** While silent, no request is answered: each waits until speech returns or its client gives up. */
  set silent(silent: boolean) {
    if (silent) this.#silence ??= Promise.withResolvers()
    else {
      this.#silence?.resolve()
      this.#silence = undefined
    }
  }

  /** Lets a request suffer what is set for it. Throws the answer where a fault has one. */
  async befall(target: FaultTarget): Promise<void> {
    await this.#silence?.promise
    for (const [id, entry] of this.#faults) {
      if (!matches(entry.fault, target)) continue
      if (--entry.left <= 0) this.#faults.delete(id)
      if (entry.fault.delayMs !== undefined) await wait(entry.fault.delayMs)
      if (entry.fault.answer !== undefined) throw answerOf(entry.fault.answer)
    }
  }
}

function matches({ user, verb, path }: FaultMatch, target: FaultTarget): boolean {
  const wanted = (value: string | undefined, actual: string): boolean => value === undefined || value === actual
  return wanted(user, target.user) && wanted(verb, target.verb) && target.path.includes(path ?? '')
}

function answerOf({ code, retryAfterSeconds }: NonNullable<Fault['answer']>): ApiError {
  const details = retryAfterSeconds === undefined ? {} : { retryAfterSeconds }
  return new ApiError(code, REASONS[code] ?? 'Unknown', `the lab answers ${code} because a fault is set`, details)
}
