import { parsePublicKey } from '#keys/public-key.ts'
import { type Announcement, type NodeRecord, ofFamilies, type SpareAnnouncement } from '#src/mesh/node-record.ts'
import { few } from '#wg/few.ts'
import { FAMILIES, type Family, type IpAddress } from '#wg/ip.ts'
import { isObject, type JsonObject, listOf, member, messageOf, objectOf, quote, textOf } from './hostile.ts'
import { hostAddress, parseHostAddress } from './node-addresses.ts'
import { faultsInto, LONGEST_UID, nodeName, parseMove, parsePodCidrs } from './node-record.ts'
import { type Fault, MALFORMED, type Noted } from './notes.ts'
import { birthDate } from './timestamp.ts'

export const MESH_NODES = '/apis/podveil.io/v1alpha1/meshnodes'

/** Bounds of the definition (manifests/crds/podveil/meshnodes.yaml). */
const MOST_ADDRESSES = 72
const MOST_TUNNELS = 8

const FIELDS = { 4: 'ipv4', 6: 'ipv6' } as const satisfies Record<Family, string>

/** Unix time in seconds of a Node whose birth nobody could read. */
const UNBORN = Number.MAX_SAFE_INTEGER

/** The spec of the MeshNode that says of a Node what the mesh keeps of it. Absent members are not in it. */
export function meshNodeSpec(record: NodeRecord): JsonObject {
  const { uid, createdAt, addresses, podCidrs, tunnels, announced } = record
  const families = FAMILIES.flatMap(family => {
    const said = familySpec(record, family)
    return said === undefined ? [] : [[FIELDS[family], said] as const]
  })
  return present({
    nodeUID: uid || undefined,
    nodeCreatedAt: createdAt === UNBORN ? undefined : new Date(createdAt * 1000).toISOString().replace('.000', ''),
    addresses: addresses.slice(0, MOST_ADDRESSES),
    podCIDRs: podCidrs,
    tunnelAddresses: tunnels.slice(0, MOST_TUNNELS),
    hello: announced[4]?.hello ?? announced[6]?.hello,
    ...Object.fromEntries(families),
  })
}

function familySpec({ announced, spare }: NodeRecord, family: Family): JsonObject | undefined {
  const main = announced[family]
  const second = spare[family]
  if (!main && !second) return undefined
  return present({
    publicKey: main?.publicKey,
    port: main?.port,
    interfaceAddress: main?.interfaceAddress,
    hostEncryption: main?.encryptsHosts,
    spare: second && present({ publicKey: second.publicKey, port: second.port, move: second.move }),
  })
}

/** Members that a spec, or a part of it, may have: what a merge patch does not name stays. */
const SPARE_MEMBERS = ['publicKey', 'port', 'move']
const FAMILY_MEMBERS = ['publicKey', 'port', 'interfaceAddress', 'hostEncryption', 'spare']
const SPEC_MEMBERS = ['nodeUID', 'nodeCreatedAt', 'addresses', 'podCIDRs', 'tunnelAddresses', 'hello', 'ipv4', 'ipv6']

/** A JSON merge patch that makes any spec this one. */
export function meshNodePatch(spec: JsonObject): JsonObject {
  const families = Object.values(FIELDS).flatMap(field => {
    const said = member(spec, field)
    if (!isObject(said)) return []
    const spare = member(said, 'spare')
    const whole = withNulls(said, FAMILY_MEMBERS)
    return [[field, isObject(spare) ? { ...whole, spare: withNulls(spare, SPARE_MEMBERS) } : whole] as const]
  })
  return { ...withNulls(spec, SPEC_MEMBERS), ...Object.fromEntries(families) }
}

/** A JSON merge patch of a spec that withdraws all that an agent says of its devices. */
export const meshNodeSilence: JsonObject = {
  hello: null,
  ...Object.fromEntries(Object.values(FIELDS).map(field => [field, null])),
}

const withNulls = (object: JsonObject, members: readonly string[]): JsonObject => ({
  ...Object.fromEntries(members.map(name => [name, null])),
  ...object,
})

const present = (object: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))

/**
 * What a MeshNode says of the Node of its name, in the form in which `projectNode` gives it. Whatever the object holds,
 * this throws nothing: what cannot be used is left out, with a sentence in `faults`. An announcement with any malformed
 * part is left out whole.
 * @returns undefined for what is not a named object
 */
export function projectMeshNode(raw: unknown): NodeRecord | undefined {
  const name = nodeName(objectOf(member(objectOf(raw), 'metadata')))
  if (name === undefined) return undefined
  const spec = objectOf(member(objectOf(raw), 'spec'))
  const faults: string[] = []
  const fault = faultsInto(faults)
  const hello = read(spec, 'hello', wholeNumber(65_535), fault)
  const said = (family: Family): JsonObject => objectOf(member(spec, FIELDS[family]))
  return {
    name,
    uid: textOf(member(spec, 'nodeUID'), LONGEST_UID) ?? '',
    createdAt: birthDate(member(spec, 'nodeCreatedAt')) ?? UNBORN,
    addresses: addressList(member(spec, 'addresses'), MOST_ADDRESSES, fault),
    podCidrs: parsePodCidrs(listOf(member(spec, 'podCIDRs')), fault),
    tunnels: addressList(member(spec, 'tunnelAddresses'), MOST_TUNNELS, fault),
    announced: ofFamilies(announcement(4, said(4), hello, fault), announcement(6, said(6), hello, fault)),
    spare: ofFamilies(spareAnnouncement(said(4), fault), spareAnnouncement(said(6), fault)),
    faults: few(faults),
  }
}

function announcement(family: Family, said: JsonObject, hello: Noted<number>, fault: Fault): Announcement | undefined {
  const publicKey = read(said, 'publicKey', keyOf, fault)
  if (publicKey === undefined) return undefined
  const port = read(said, 'port', wholeNumber(65_535), fault)
  const address = read(said, 'interfaceAddress', value => parseHostAddress(shortText(value), family), fault)
  if (publicKey === MALFORMED || port === MALFORMED || address === MALFORMED || hello === MALFORMED) return undefined
  const encryptsHosts = member(said, 'hostEncryption') === true && { encryptsHosts: true as const }
  return { publicKey, port, hello, interfaceAddress: address, ...encryptsHosts }
}

function spareAnnouncement(family: JsonObject, fault: Fault): SpareAnnouncement | undefined {
  const said = objectOf(member(family, 'spare'))
  const publicKey = read(said, 'publicKey', keyOf, fault)
  const port = read(said, 'port', wholeNumber(65_535), fault)
  const move = read(said, 'move', value => parseMove(shortText(value)), fault)
  if (publicKey === undefined || publicKey === MALFORMED || port === undefined || port === MALFORMED) return undefined
  return move === MALFORMED ? undefined : { publicKey, port, move }
}

/** The member as `parse` makes it; what that throws becomes a fault. */
function read<T>(object: JsonObject, field: string, parse: (value: unknown) => T, fault: Fault): Noted<T> {
  const value = member(object, field) ?? undefined
  if (value === undefined) return undefined
  try {
    return parse(value)
  } catch (error) {
    fault(`MeshNode ${field}: ${messageOf(error)}`)
    return MALFORMED
  }
}

const keyOf = (value: unknown) => parsePublicKey(shortText(value))

function shortText(value: unknown): string {
  const text = textOf(value, 64)
  if (text === undefined) throw new TypeError(`${quote(value)} is not a text of usable length`)
  return text
}

const wholeNumber =
  (largest: number) =>
  (value: unknown): number => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= largest) return value
    throw new RangeError(`${quote(value)} is not a number from 1 to ${largest}`)
  }

function addressList(value: unknown, most: number, fault: Fault): readonly IpAddress[] {
  const listed = listOf(value)
  if (listed.length > most) fault(`has ${listed.length} addresses, of which ${most} are looked at`)
  return few(listed.slice(0, most).map(entry => hostAddress(entry, fault)))
}
