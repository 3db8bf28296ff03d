import type { NodeName } from '#src/mesh/node-record.ts'
import { RemoteEnd } from './remote-end.ts'
import type { Start } from './via.ts'

/** The ends that run: one for a node, however many pairs it is in. */
export class Ends implements AsyncDisposable {
  readonly #start: (node: NodeName) => Promise<Start>
  readonly #running = new Map<NodeName, RemoteEnd>()

  /** @param start says how one is started on a node */
  constructor(start: (node: NodeName) => Promise<Start>) {
    this.#start = start
  }

  /** The one on that node, which is started where it does not run. */
  async on(node: NodeName): Promise<RemoteEnd> {
    const running = this.#running.get(node)
    if (running) return running
    const end = new RemoteEnd(node, await this.#start(node))
    this.#running.set(node, end)
    return end
  }

  /** Ends it, where it runs. */
  async leave(node: NodeName): Promise<void> {
    const running = this.#running.get(node)
    this.#running.delete(node)
    await running?.[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#running.keys()].map(node => this.leave(node)))
  }
}
