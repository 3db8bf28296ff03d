import { parsePublicKey } from '#keys/public-key.ts'
import {
  type Announcement,
  type Move,
  type NodeName,
  type NodeRecord,
  ofFamilies,
  type SpareAnnouncement,
} from '#src/mesh/node-record.ts'
import { few } from '#wg/few.ts'
import { type Cidr, FAMILIES, type Family, familyOf, type IpAddress, parseCidr } from '#wg/ip.ts'
import { annotations } from './annotations.ts'
import { type JsonObject, listOf, member, objectOf, quote, textOf } from './hostile.ts'
import { claimedAddresses, nodeAddresses, parseHostAddress, statusAddresses } from './node-addresses.ts'
import { type Fault, MALFORMED, type Noted, Notes } from './notes.ts'
import { birthDate } from './timestamp.ts'

/** The API's own bounds: a DNS-1123 subdomain, and a UUID with room to spare. */
const NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/
export const LONGEST_UID = 128

/** The API allows one of each family; more are of no node that exists. */
const MOST_POD_CIDRS = 16

/** A shorter prefix is no node's share of a pod network, but would draw the traffic of half the world to it. */
const SHORTEST_PREFIX = { 4: 8, 6: 16 } as const

/** What of one object could not be used is told in so many sentences at most. */
const MOST_FAULTS = 16

/** Reads what stands in a Node's status and spec; of metadata alone, what its agent says that stands there. */
type Reading = (node: JsonObject, notes: Notes, fault: Fault) => Pick<NodeRecord, 'addresses' | 'podCidrs'>

/**
 * What the mesh keeps of a whole Node. Whatever the object holds, this throws nothing: what
 * cannot be used is left out, with a sentence in `faults`. An announcement with any malformed part is left out whole.
 * @returns undefined for what is not a named object
 */
export const projectNode = (raw: unknown): NodeRecord | undefined => project(raw, readStated)

/** The same of a Node's metadata alone (PartialObjectMetadata), in which its agent may claim what it likes. */
export const projectNodeMetadata = (raw: unknown): NodeRecord | undefined => project(raw, readClaimed)

/** Whether the server has sent metadata alone. */
export const isMetadataAlone = (raw: unknown): boolean => member(objectOf(raw), 'kind') === 'PartialObjectMetadata'

const readStated: Reading = (node, notes, fault) => ({
  addresses: nodeAddresses(statusAddresses(node, fault), notes),
  podCidrs: parsePodCidrs(specPodCidrs(node), fault),
})

const readClaimed: Reading = (_, notes, fault) => ({
  addresses: nodeAddresses(claimedAddresses(notes, fault), notes),
  podCidrs: parsePodCidrs(notes.list(annotations.podCidrs) ?? [], fault),
})

function project(raw: unknown, read: Reading): NodeRecord | undefined {
  const node = objectOf(raw)
  const metadata = objectOf(member(node, 'metadata'))
  const name = nodeName(metadata)
  if (name === undefined) return undefined

  const faults: string[] = []
  const fault = faultsInto(faults)
  const notes = new Notes(member(metadata, 'annotations'), fault)
  const hello = notes.number(annotations.hello, 65_535)
  return {
    name,
    uid: textOf(member(metadata, 'uid'), LONGEST_UID) ?? '',
    createdAt: createdAt(member(metadata, 'creationTimestamp'), fault),
    ...read(node, notes, fault),
    tunnels: tunnelAddresses(notes),
    announced: ofFamilies(announcement(4, notes, hello), announcement(6, notes, hello)),
    spare: ofFamilies(spareAnnouncement(4, notes), spareAnnouncement(6, notes)),
    faults: few(faults),
  }
}

/** metadata.name, where it is one that a Node can have. */
export function nodeName(metadata: JsonObject): NodeName | undefined {
  const name = textOf(member(metadata, 'name'), 253)
  return name !== undefined && NAME.test(name) ? (name as NodeName) : undefined
}

/** Takes the first sentences of many. */
export function faultsInto(faults: string[]): Fault {
  return sentence => {
    if (faults.length < MOST_FAULTS) faults.push(sentence)
  }
}

function announcement(family: Family, notes: Notes, hello: Noted<number>): Announcement | undefined {
  const publicKey = notes.read(annotations.publicKey[family], parsePublicKey)
  if (publicKey === undefined) return undefined
  const port = notes.number(annotations.port[family], 65_535)
  const address = notes.read(annotations.interfaceAddress[family], text => parseHostAddress(text, family))
  if (publicKey === MALFORMED || port === MALFORMED || address === MALFORMED || hello === MALFORMED) return undefined
  const encryptsHosts = notes.read(annotations.encryptsHosts[family], parseTrue)
  return { publicKey, port, hello, interfaceAddress: address, ...(encryptsHosts === true && { encryptsHosts }) }
}

function parseTrue(text: string): true {
  if (text === 'true') return true
  throw new RangeError(`${quote(text)} is not true`)
}

function spareAnnouncement(family: Family, notes: Notes): SpareAnnouncement | undefined {
  const publicKey = notes.read(annotations.spareKey[family], parsePublicKey)
  const port = notes.number(annotations.sparePort[family], 65_535)
  const move = notes.read(annotations.move[family], parseMove)
  if (publicKey === undefined || publicKey === MALFORMED || port === undefined || port === MALFORMED) return undefined
  return move === MALFORMED ? undefined : { publicKey, port, move }
}

/** @throws RangeError */
export function parseMove(text: string): Move {
  if (text === 'away' || text === 'back') return text
  throw new RangeError(`${quote(text)} is neither away nor back`)
}

function tunnelAddresses(notes: Notes): readonly IpAddress[] {
  const found = FAMILIES.flatMap(family =>
    annotations.tunnelAddress[family].flatMap(key => {
      const address = notes.read(key, text => parseHostAddress(text, family))
      return address === undefined || address === MALFORMED ? [] : [address]
    }),
  )
  return few(found)
}

/** spec.podCIDRs, else spec.podCIDR. */
function specPodCidrs(node: JsonObject): readonly unknown[] {
  const spec = objectOf(member(node, 'spec'))
  const listed = listOf(member(spec, 'podCIDRs'))
  const single = member(spec, 'podCIDR')
  return listed.length > 0 || !single ? listed : [single]
}

/** Those that one node can have, host bits cleared, each once. */
export function parsePodCidrs(given: readonly unknown[], fault: Fault): readonly Cidr[] {
  if (given.length > MOST_POD_CIDRS) fault(`has ${given.length} pod CIDRs, of which ${MOST_POD_CIDRS} are looked at`)
  const cidrs = new Set<Cidr>()
  for (const value of given.slice(0, MOST_POD_CIDRS)) {
    const cidr = podCidr(value)
    if (cidr === undefined) fault(`pod CIDR ${quote(value)} is not one that a node can have`)
    else cidrs.add(cidr)
  }
  return [...cidrs]
}

function podCidr(value: unknown): Cidr | undefined {
  const text = textOf(value, 64)
  if (!text?.includes('/')) return undefined
  try {
    const cidr = parseCidr(text)
    const length = Number(cidr.slice(cidr.indexOf('/') + 1))
    return length >= SHORTEST_PREFIX[familyOf(cidr)] ? cidr : undefined
  } catch {
    return undefined
  }
}

/** A node without a usable birth date is the youngest, so that it wins no dispute over a key. */
function createdAt(value: unknown, fault: Fault): number {
  const seconds = birthDate(value)
  if (seconds !== undefined) return seconds
  fault(`metadata.creationTimestamp ${quote(value)} is not a time`)
  return Number.MAX_SAFE_INTEGER
}
