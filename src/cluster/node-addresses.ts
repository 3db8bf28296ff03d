import { addressBytes, FAMILIES, type Family, familyOf, type IpAddress, parseAddress } from '#wg/ip.ts'
import { annotations } from './annotations.ts'
import { type JsonObject, listOf, member, objectOf, quote, textOf } from './hostile.ts'
import { type Fault, MALFORMED, type Notes } from './notes.ts'

/** Nodes with many interfaces list a dozen; more is no list that somebody meant. */
const MOST_ADDRESSES = 64

export interface ListedAddresses {
  readonly internal: readonly IpAddress[]
  readonly external: readonly IpAddress[]
}

/**
 * Where a node is reached on the underlay, best first: what Calico detected, InternalIP, and ExternalIP only of a family
 * that has no other. An ExternalIP is often not on the node but on a gateway in front of it: as an allowed IP it would
 * draw traffic into the tunnel that ends elsewhere (calico#8508).
 */
export function nodeAddresses(listed: ListedAddresses, notes: Notes): readonly IpAddress[] {
  const internal = [...calicoAddresses(notes), ...listed.internal]
  const families = new Set(internal.map(familyOf))
  return [...new Set([...internal, ...listed.external.filter(address => !families.has(familyOf(address)))])]
}

/**
 * An address of this family that one host can have: not zero, loopback, multicast, broadcast or (IPv6) link-local.
 * @throws IpFormatError, RangeError
 */
export function parseHostAddress(text: string, family: Family): IpAddress {
  const address = parseAddress(text)
  if (familyOf(address) !== family) throw new RangeError(`${quote(text)} is not an IPv${family} address`)
  if (!isHostAddress(address)) throw new RangeError(`${quote(text)} is not an address that a host can have`)
  return address
}

function calicoAddresses(notes: Notes): IpAddress[] {
  return FAMILIES.flatMap(family => {
    const address = notes.read(annotations.nodeAddress[family], text =>
      parseHostAddress(text.replace(/\/\d{1,3}$/, ''), family),
    )
    return address === undefined || address === MALFORMED ? [] : [address]
  })
}

/** Of status.addresses those that a host can have. */
export function statusAddresses(node: JsonObject, fault: Fault): ListedAddresses {
  const found = { internal: [] as IpAddress[], external: [] as IpAddress[] }
  const listed = listOf(member(objectOf(member(node, 'status')), 'addresses'))
  if (listed.length > MOST_ADDRESSES) fault(`has ${listed.length} addresses, of which ${MOST_ADDRESSES} are looked at`)
  for (const entry of listed.slice(0, MOST_ADDRESSES).map(objectOf)) {
    const type = member(entry, 'type')
    const into = type === 'InternalIP' ? found.internal : type === 'ExternalIP' ? found.external : undefined
    const address = into && hostAddress(member(entry, 'address'), fault)
    if (address !== undefined) into?.push(address)
  }
  return found
}

/** What the node's agent says that counts of its status. */
export function claimedAddresses(notes: Notes, fault: Fault): ListedAddresses {
  const claimed = notes.list(annotations.addresses) ?? []
  return { internal: claimed.slice(0, MOST_ADDRESSES).flatMap(text => hostAddress(text, fault) ?? []), external: [] }
}

/** @returns undefined, after a sentence about it, for what is no address that a host can have */
export function hostAddress(value: unknown, fault: Fault): IpAddress | undefined {
  const text = textOf(value, 64) ?? ''
  try {
    const address = parseAddress(text)
    if (isHostAddress(address)) return address
  } catch {
    // Told below.
  }
  fault(`node address ${quote(value)} is not one that a host can have`)
  return undefined
}

function isHostAddress(address: IpAddress): boolean {
  const [first = 0, second = 0, ...rest] = addressBytes(address)
  if (familyOf(address) === 4) return first !== 0 && first !== 127 && first < 224
  const linkLocal = first === 0xfe && (second & 0xc0) === 0x80
  const zeroOrLoopback =
    first === 0 && second === 0 && rest.slice(0, -1).every(byte => byte === 0) && (rest.at(-1) ?? 0) < 2
  return first !== 0xff && !linkLocal && !zeroOrLoopback
}
