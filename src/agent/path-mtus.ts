import type { Logger } from '#src/cluster/logger.ts'
import { PathProber, type ProbeTimes, type Round } from '#src/hello/path-prober.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { Family, IpAddress } from '#wg/ip.ts'

interface Path {
  readonly prober: PathProber
  endpoint: IpAddress | undefined
  blocked: boolean
}

const NONE: ReadonlyMap<NodeName, number> = new Map()

/**
 * The path MTU to each peer of one family, whichever device its traffic is on. The caller gives the time, milliseconds of
 * the agent's clock.
 */
export class PathMtus {
  readonly #family: Family
  readonly #times: ProbeTimes
  readonly #log: Logger
  readonly #wake: () => void
  /** Those that were asked about: of most pairs of a large mesh none ever is. */
  readonly #paths = new Map<NodeName, Path>()
  #full: number | undefined
  /** Since when paths are probed at all. */
  #since = 0
  #found = NONE

  /** @param wake is called when a path was found to carry less or more than before */
  constructor(family: Family, times: ProbeTimes, log: Logger, wake: () => void) {
    this.#family = family
    this.#times = times
    this.#log = log
    this.#wake = wake
  }

  /** Peers whose path carries less than the tunnel's MTU, with what it carries, bytes. The same object for as long as it says the same. */
  get found(): ReadonlyMap<NodeName, number> {
    return this.#found
  }

  /** What is known to arrive, bytes; undefined for not known. */
  known(node: NodeName): number | undefined {
    const prober = this.#paths.get(node)?.prober
    return prober?.seen ? prober.mtu : undefined
  }

  /** @param full MTU of the tunnel; undefined where nothing is to be probed: what was found is forgotten then */
  limit(full: number | undefined, now: number): void {
    if (full === this.#full) return
    if (this.#full === undefined) this.#since = now
    this.#full = full
    if (full === undefined) this.#paths.clear()
    else for (const { prober } of this.#paths.values()) prober.limit(full, now)
    this.#collect()
  }

  /** What an agent before this one has found, and put on its routes: bytes. */
  adopt(found: ReadonlyMap<NodeName, number>, now: number): void {
    for (const [node, mtu] of this.#full === undefined ? [] : found) this.#paths.set(node, this.#path(now, mtu))
    this.#collect()
  }

  /** Takes in where the packets of a peer go; undefined for not known. */
  keep(node: NodeName, endpoint: IpAddress | undefined, now: number): void {
    const path = this.#paths.get(node)
    if (path && endpoint !== undefined && endpoint !== path.endpoint) {
      if (path.endpoint !== undefined) path.prober.doubt(now)
      path.endpoint = endpoint
    }
  }

  /** It is a peer no more. */
  leave(node: NodeName): void {
    this.#paths.delete(node)
    if (this.#found.has(node)) this.#collect()
  }

  /** @returns the size of the large echo of the round that is due, in bytes of its IP packet; undefined for none */
  due(node: NodeName, now: number): number | undefined {
    if (this.#full !== undefined && !this.#paths.has(node)) this.#paths.set(node, this.#path(this.#since))
    return this.#noting(node, prober => prober.due(now))
  }

  /** A round goes out now. */
  ask(node: NodeName, tokens: Round, now: number): void {
    this.#paths.get(node)?.prober.ask(tokens, now)
  }

  /** It could not be sent. */
  fail(node: NodeName, now: number): void {
    this.#noting(node, prober => prober.fail(now))
  }

  answer(node: NodeName, token: bigint, now: number): void {
    this.#noting(node, prober => prober.answer(token, now))
  }

  /** Not all at once, where a mesh is turned on. */
  #path(since: number, mtu?: number): Path {
    const first = since + Math.random() * this.#times.period
    const prober = new PathProber(this.#family, this.#full ?? 0, this.#times, first, mtu)
    return { prober, endpoint: undefined, blocked: false }
  }

  #noting<Result>(node: NodeName, act: (prober: PathProber) => Result): Result | undefined {
    const path = this.#paths.get(node)
    if (!path) return undefined
    const { mtu } = path.prober
    const result = act(path.prober)
    if (path.prober.mtu !== mtu) {
      this.#tell(node, path.prober.mtu)
      this.#collect()
      this.#wake()
    }
    if (path.prober.blocked !== path.blocked) {
      path.blocked = path.prober.blocked
      if (path.blocked) this.#tellBlocked(node)
    }
    return result
  }

  #tell(peer: NodeName, mtu: number): void {
    const about = { peer, family: this.#family, mtu, tunnel: this.#full }
    const who = `${peer} (IPv${this.#family})`
    if (this.#full !== undefined && mtu < this.#full)
      this.#log.warn(
        { event: 'path-mtu-smaller', ...about },
        `the path to ${who} drops packets of more than ${mtu} bytes without a word: its routes have that MTU now, the tunnel has ${this.#full}`,
      )
    else
      this.#log.info(
        { event: 'path-mtu-whole', ...about },
        `the path to ${who} carries all that the tunnel takes again: its routes have no MTU of their own any more`,
      )
  }

  #tellBlocked(peer: NodeName): void {
    this.#log.warn(
      { event: 'path-mtu-too-small', peer, family: this.#family },
      `the path to ${peer} (IPv${this.#family}) answers small packets and drops even those of the smallest MTU that there is: look at what is between the nodes`,
    )
  }

  #collect(): void {
    const full = this.#full
    const found = new Map<NodeName, number>()
    for (const [node, { prober }] of this.#paths)
      if (full !== undefined && prober.mtu < full) found.set(node, prober.mtu)
    const same = found.size === this.#found.size && [...found].every(([node, mtu]) => this.#found.get(node) === mtu)
    if (!same) this.#found = found
  }
}
