import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { DEFAULTS } from '#src/cluster/felix-parameters.ts'
import { messageOf } from '#src/cluster/hostile.ts'
import { wireguardMark } from '#src/mesh/marks.ts'
import { parseAddress } from '#wg/ip.ts'
import { SocketError } from '#wg/native/socket.ts'
import { isNetlinkError } from '#wg/netlink/errors.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { DeviceCapture } from './capture.ts'
import type { EndReply, EndRequest, Listening } from './protocol.ts'
import { sendMarked } from './send.ts'
import { FrameTally } from './tally.ts'

/** Milliseconds without a request after which nobody is there any more: longer than the other end may take to start. */
const NOBODY_THERE = 180_000

/**
 * The end of `podveil verify` on one node: captures and sends what it is asked to, until it is told to end, its input ends or
 * nobody asks any more. The input of a container that kubectl has added stays open when kubectl has gone: its end is not enough.
 */
export async function runEnd(input: Readable, output: Writable, patience = NOBODY_THERE): Promise<void> {
  using end = new End()
  const lines = createInterface({ input })
  const late = setTimeout(() => lines.close(), patience)
  try {
    for await (const line of lines) {
      const request = read(line)
      if (request?.op === 'end') break
      output.write(`${JSON.stringify(await answer(end, request))}\n`)
      late.refresh()
    }
  } finally {
    clearTimeout(late)
    lines.close()
    input.destroy()
  }
}

function read(line: string): EndRequest | undefined {
  try {
    return JSON.parse(line) as EndRequest
  } catch {
    return undefined
  }
}

async function answer(end: End, request: Exclude<EndRequest, { op: 'end' }> | undefined): Promise<EndReply> {
  if (!request) return { error: 'not JSON: this is for podveil verify, which starts it' }
  try {
    return { value: await end.answer(request) }
  } catch (error) {
    return { error: isForbidden(error) ? `may not capture or send: ${NEEDS}` : messageOf(error) }
  }
}

const NEEDS = "it takes root in the node's network namespace, with the capabilities NET_RAW and NET_ADMIN"

const isForbidden = (error: unknown): boolean => error instanceof SocketError && error.errnoName === 'EPERM'

class End implements Disposable {
  #captures: DeviceCapture[] = []
  #tally = new FrameTally([], [])

  async answer(request: Exclude<EndRequest, { op: 'end' }>): Promise<unknown> {
    switch (request.op) {
      case 'listen':
        return this.#listen(request)
      case 'send': {
        const { from, to, count, ...mark } = request
        return sendMarked(parseAddress(from), parseAddress(to), mark, count)
      }
      case 'tally':
        return this.#tally.tally
    }
  }

  [Symbol.dispose](): void {
    for (const capture of this.#captures) capture[Symbol.dispose]()
    this.#captures = []
  }

  async #listen({ towards, destinations, tokens, lengths }: EndRequest & { op: 'listen' }): Promise<Listening> {
    this[Symbol.dispose]()
    const devices = await underlay(towards, destinations)
    if (devices.size === 0)
      throw new Error(`no route leads to ${towards.join(' or ')}: is that a node of this cluster?`)
    const tally = new FrameTally(tokens, lengths)
    this.#tally = tally
    for (const [index, name] of devices)
      this.#captures.push(new DeviceCapture(index, packet => tally.look(name, packet)))
    return { devices: [...devices.values()] }
  }
}

/** Devices by which packets leave this node: WireGuard's own to these addresses, and what would go to others in clear. */
async function underlay(towards: readonly string[], destinations: readonly string[]): Promise<Map<number, string>> {
  using net = RouteNetlink.open()
  // What carries this mark passes by our own rules, as WireGuard's packets do.
  const mark = wireguardMark(DEFAULTS.markMask)
  const links = await net.links()
  const found = new Map<number, string>()
  for (const text of [...towards, ...destinations]) {
    const index = await deviceTo(net, text, mark)
    const link = links.find(one => one.index === index)
    if (link && link.kind !== 'wireguard' && link.name !== 'lo') found.set(link.index, link.name)
  }
  return found
}

/** Nowhere is an answer too. */
async function deviceTo(net: RouteNetlink, address: string, mark: number): Promise<number | undefined> {
  try {
    return (await net.lookUp({ to: parseAddress(address), mark }))?.device
  } catch (error) {
    if (isNetlinkError(error, 'ENETUNREACH') || isNetlinkError(error, 'EHOSTUNREACH')) return undefined
    throw error
  }
}
