import type { PublicKey } from '#keys/public-key.ts'
import type { LaneStates } from '#src/mesh/lanes.ts'
import { LANES, type Lane } from '#src/mesh/node-record.ts'
import type { Ownership } from '#wg/reconcile/desired.ts'
import type { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import { ChangingPairs } from './changing-pairs.ts'
import { DevicePoll } from './device-poll.ts'

type Kernel = Pick<FamilyKernel, 'stale' | 'peers' | 'observe' | 'observeDevices' | 'observePeers'>

/** What a look is given. */
export interface LookInput {
  readonly ownership: Ownership
  /** Of the devices, those that there are to be. */
  readonly names: Readonly<Record<Lane, string | undefined>>
  /** What hosts send each other goes by the tunnels too. */
  readonly encryptsHosts: boolean
}

/**
 * Looks at the devices of one family: at all of their peers now and then, and more often at those alone of which more is to
 * come. Times are milliseconds, of any one clock.
 */
export class DeviceLook {
  readonly #kernel: Kernel
  readonly #poll = new DevicePoll()
  readonly #changing: Readonly<Record<Lane, ChangingPairs>> = { main: new ChangingPairs(), spare: new ChangingPairs() }
  /** Peers that were sent to where their Node was, at the last look or since. */
  readonly #strayed: Readonly<Record<Lane, Set<PublicKey>>> = { main: new Set(), spare: new Set() }

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  /** When the next one is due. */
  get at(): number {
    return this.#poll.at
  }

  /** All that is known of the devices is of that very moment. */
  wasReadAt(now: number): boolean {
    return this.#poll.wasReadAt(now)
  }

  /**
   * Looks at what is due.
   * @returns what that was
   * @throws NetlinkError, DeviceError
   */
  async take({ ownership, names, encryptsHosts }: LookInput, now: number): Promise<'nothing' | 'changing' | 'all'> {
    const { stale } = this.#kernel
    const awaited = new Map(LANES.map(lane => [names[lane] ?? '', this.#awaited(lane)]))
    const changing = [...awaited.values()].reduce((count, { size }) => count + size, 0)
    const due = stale ? 'all' : this.#poll.due(now, changing, this.#peers(names))
    if (due === 'nothing') return due
    if (due === 'changing') {
      await this.#kernel.observePeers(awaited)
      this.#poll.noteLook()
    } else {
      if (stale) await this.#kernel.observe(ownership)
      else await this.#kernel.observeDevices()
      this.#poll.noteRead(now, encryptsHosts)
    }
    for (const lane of LANES) this.#strayed[lane].clear()
    return due
  }

  /** Takes in peers that are sent to where their Node was: set right now, one may go back there with its next packet. */
  noteStrayed(lane: Lane, keys: Iterable<PublicKey>): void {
    for (const key of keys) this.#strayed[lane].add(key)
  }

  /** Takes in what pairs have come to: where more is to come of some, the next look is soon. */
  noteStates(states: LaneStates, names: LookInput['names'], now: number): void {
    for (const lane of LANES) this.#changing[lane].note(states[lane])
    if (LANES.some(lane => this.#awaited(lane).size > 0)) this.#poll.hurry(now, this.#peers(names))
  }

  /** Nothing that was read is believed any more. */
  distrust(): void {
    this.#poll.distrust()
  }

  /** Peers of one device that are looked at often. */
  #awaited(lane: Lane): ReadonlySet<PublicKey> {
    const [{ keys }, strayed] = [this.#changing[lane], this.#strayed[lane]]
    return strayed.size > 0 ? keys.union(strayed) : keys
  }

  #peers(names: LookInput['names']): number {
    return LANES.map(lane => names[lane])
      .map(name => (name === undefined ? 0 : (this.#kernel.peers(name)?.size ?? 0)))
      .reduce((count, more) => count + more)
  }
}
