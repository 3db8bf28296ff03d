import { publicKeyBytes } from '#keys/public-key.ts'
import type { DeviceChange, PeerChange } from '../device/device.ts'
import { formatEndpoint } from '../ip.ts'

/** The operation that reads a device (https://www.wireguard.com/xplatform/#configuration-protocol). */
export const UAPI_GET = 'get=1\n\n'

/**
 * Longest operation, in bytes. It fits into a socket's buffer as a whole, so an implementation that stops reading at the
 * first error can still be heard; and the tunnel is locked no longer than a few hundred peers take.
 */
const MAX_OPERATION = 65_536
/** A key line, its flags and endpoint, one prefix and the keepalive. */
const MIN_OPERATION = 512

type SetPeer = Extract<PeerChange, { kind: 'set' }>

/**
 * A change as operations, to be sent in order. The device's own lines are in the first one only; a peer that does not fit
 * goes on in the next with its key and the rest of its prefixes, and its keepalive comes last, because it sends a packet
 * at once. replace_peers and replace_allowed_ips are never used.
 * @param maxOperation bytes, at least 512
 * @returns no operation for a change of nothing
 */
export function formatSet(change: DeviceChange, maxOperation = MAX_OPERATION): string[] {
  const { privateKey, listenPort, fwmark, peers = [] } = change
  const operations = new OperationSplitter(maxOperation)
  if (privateKey !== undefined) operations.add([`private_key=${hex(privateKey.reveal())}`])
  if (listenPort !== undefined) operations.add([`listen_port=${listenPort}`])
  if (fwmark !== undefined) operations.add([`fwmark=${fwmark}`])
  for (const peer of peers) {
    const key = `public_key=${hex(publicKeyBytes(peer.publicKey))}`
    if (peer.kind === 'remove') operations.add([key, 'remove=true'])
    else addPeer(operations, key, peer)
  }
  return operations.finish()
}

function addPeer(operations: OperationSplitter, key: string, peer: SetPeer): void {
  // What every piece of the peer begins with.
  const head = peer.updateOnly ? [key, 'update_only=true'] : [key]
  operations.add(peer.endpoint ? [...head, `endpoint=${formatEndpoint(peer.endpoint)}`] : head)
  const more = (line: string) => operations.continue(line, head)
  for (const cidr of peer.removeAllowedIps ?? []) more(`allowed_ip=-${cidr}`)
  for (const cidr of peer.addAllowedIps ?? []) more(`allowed_ip=${cidr}`)
  if (peer.persistentKeepalive !== undefined) more(`persistent_keepalive_interval=${peer.persistentKeepalive}`)
}

const START = 'set=1\n'

/** Starts an operation whenever the one before is full. */
class OperationSplitter {
  readonly #maxOperation: number
  readonly #done: string[] = []
  #text = START

  constructor(maxOperation: number) {
    if (maxOperation < MIN_OPERATION) throw new RangeError(`operations of ${maxOperation} bytes are too short`)
    this.#maxOperation = maxOperation
  }

  /** Lines that stay together. */
  add(lines: readonly string[]): void {
    const text = `${lines.join('\n')}\n`
    if (!this.#fits(text)) this.#flush()
    this.#text += text
  }

  /** A line that needs `head` before it where it begins an operation. */
  continue(line: string, head: readonly string[]): void {
    if (this.#fits(`${line}\n`)) this.#text += `${line}\n`
    else this.add([...head, line])
  }

  finish(): string[] {
    if (this.#text !== START) this.#flush()
    return this.#done
  }

  /** The blank line at the end counts; all is ASCII. */
  #fits(text: string): boolean {
    return this.#text.length + text.length < this.#maxOperation
  }

  #flush(): void {
    this.#done.push(`${this.#text}\n`)
    this.#text = START
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
