import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { type Endpoint, parseAddress } from '#wg/ip.ts'

/** Milliseconds between two looks at what a name stands for. */
const PERIOD = 60_000

type Resolve = (name: string) => Promise<readonly { readonly address: string }[]>

/** Where the agent reaches the API server, as addresses: what the packet filter knows. */
export class ApiPlaces {
  readonly #host: string
  readonly #port: number
  readonly #changed: () => void
  #places: readonly Endpoint[] = []
  #nextAt = Number.NEGATIVE_INFINITY
  readonly #resolve: Resolve

  /**
   * @param changed is called when a name was found to stand for other addresses
   * @param resolve all addresses of a name, in any order
   */
  constructor(server: URL, changed: () => void, resolve: Resolve = name => lookup(name, { all: true })) {
    this.#resolve = resolve
    this.#host = server.hostname.replace(/^\[|\]$/g, '')
    this.#port = Number(server.port || (server.protocol === 'http:' ? 80 : 443))
    this.#changed = changed
    if (isIP(this.#host)) this.#places = [{ address: parseAddress(this.#host), port: this.#port }]
  }

  /** As last looked up; a name is looked up again in the background. @param now milliseconds, monotonic */
  current(now: number): readonly Endpoint[] {
    if (!isIP(this.#host) && now >= this.#nextAt) {
      this.#nextAt = now + PERIOD
      // What a name stood for last is the best guess while nobody answers.
      this.#look().catch(() => {})
    }
    return this.#places
  }

  async #look(): Promise<void> {
    const places = placesOf(await this.#resolve(this.#host), this.#port)
    if (JSON.stringify(places) === JSON.stringify(this.#places)) return
    this.#places = places
    this.#changed()
  }
}

/** In an order of their own: name servers answer in another one each time. */
function placesOf(found: readonly { readonly address: string }[], port: number): Endpoint[] {
  // One with a zone is on a link; what goes there is no matter of a node's addresses.
  const addresses = found.flatMap(({ address }) => (address.includes('%') ? [] : [parseAddress(address)]))
  return [...new Set(addresses)].toSorted().map(address => ({ address, port }))
}
