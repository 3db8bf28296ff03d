import { request } from 'node:http'
import { json } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import type { Load } from '#src/lab/apiserver/load-meter.ts'
import { LabFiles } from '#src/lab/state.ts'

/** How far apart two looks are, and how many make a second. */
const LOOK_MS = 200
const SECOND = 1_000 / LOOK_MS

interface State {
  readonly openWatches: number
  readonly loads: readonly Load[]
}

/** What the agents of a lab asked of its API server, by its own count. Bytes are of bodies. */
export interface Asked {
  readonly loads: readonly Load[]
  readonly seconds: number
  /** The most requests that came within a second. */
  readonly busiest: number
}

/** Reads the counters of a lab's embedded API server. */
export class ApiMeter {
  readonly #socket: string

  constructor(lab: string) {
    this.#socket = new LabFiles(lab).apiAdminSocket
  }

  async openWatches(): Promise<number> {
    return (await this.#state()).openWatches
  }

  /**
   * What is asked while the work is done.
   * @param fromZero the counters are left as they are: the server has just been started, or the work does that
   */
  async during(work: () => Promise<unknown>, { fromZero = false }: { fromZero?: boolean } = {}): Promise<Asked> {
    if (!fromZero) await this.#order('reset-loads')
    const began = performance.now()
    const totals: number[] = []
    const ended = new AbortController()
    const looking = this.#look(totals, ended.signal)
    try {
      await work()
    } finally {
      ended.abort()
      await looking
    }
    const loads = ofAgents((await this.#state()).loads)
    const busiest = totals.map((total, at) => total - (totals[at - SECOND] ?? 0))
    return { loads, seconds: (performance.now() - began) / 1_000, busiest: Math.max(0, ...busiest) }
  }

  async #look(totals: number[], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // While the server is down, nothing is asked of it.
      const state = await this.#state().catch(() => undefined)
      totals.push(state ? requests(ofAgents(state.loads)) : 0)
      await pause(LOOK_MS)
    }
  }

  #state(): Promise<State> {
    return this.#order('state')
  }

  #order<T>(order: string): Promise<T> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { socketPath: this.#socket, path: `/${order}`, method: 'POST', agent: false },
        answer => {
          json(answer).then(value => resolve(value as T), reject)
        },
      )
      outgoing.on('error', reject)
      outgoing.end()
    })
  }
}

/** Each agent has its node's name; the lab's own requests are an administrator's. */
const ofAgents = (loads: readonly Load[]): Load[] => loads.filter(({ user }) => user.startsWith('system:node:'))

export const requests = (loads: readonly Load[]): number => loads.reduce((sum, load) => sum + load.requests, 0)
