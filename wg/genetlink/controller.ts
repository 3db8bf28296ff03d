import { type Attribute, AttributeWriter, readAttributes } from '../netlink/attributes.ts'
import type { Connection } from '../netlink/connection.ts'
import { isNetlinkError, NetlinkFormatError } from '../netlink/errors.ts'
import type { NetlinkRequest } from '../netlink/message.ts'

/** The controller of generic netlink (linux/genetlink.h), which knows the numbers of all other families. */
const GENL_ID_CTRL = 0x10
const CTRL_CMD_GETFAMILY = 3
const CTRL_VERSION = 2
const CTRL_ATTR_FAMILY_ID = 1
const CTRL_ATTR_FAMILY_NAME = 2
const CTRL_ATTR_VERSION = 3
const CTRL_ATTR_MCAST_GROUPS = 7
const CTRL_ATTR_MCAST_GRP_NAME = 1
const CTRL_ATTR_MCAST_GRP_ID = 2

/** struct genlmsghdr: u8 command, u8 version, u16 reserved. */
const GENL_HEADER = 4

/** A family as the running kernel numbers it. */
export interface GenericFamily {
  readonly name: string
  /** Message type of its requests and replies. */
  readonly id: number
  readonly version: number
  /** Number of each multicast group. */
  readonly groups: ReadonlyMap<string, number>
}

export interface GenericMessage {
  readonly command: number
  readonly version: number
  readonly attributes: readonly Attribute[]
}

/**
 * A request to a generic netlink family.
 * @param flags NLM_F_*; the connection adds NLM_F_REQUEST, NLM_F_ACK and, for a dump, NLM_F_DUMP
 * @param attributes what an AttributeWriter wrote
 */
export function genlMessage(
  { id, version }: Pick<GenericFamily, 'id' | 'version'>,
  command: number,
  attributes: Uint8Array,
  flags = 0,
): NetlinkRequest {
  const payload = new Uint8Array(GENL_HEADER + attributes.length)
  payload[0] = command
  payload[1] = version
  payload.set(attributes, GENL_HEADER)
  return { type: id, flags, payload }
}

/** @throws NetlinkFormatError */
export function parseGenlMessage(payload: Uint8Array): GenericMessage {
  const [command, version] = payload
  if (command === undefined || version === undefined || payload.length < GENL_HEADER)
    throw new NetlinkFormatError(`generic message of ${payload.length} bytes`)
  return { command, version, attributes: readAttributes(payload.subarray(GENL_HEADER)) }
}

/**
 * Finds a family by name; the kernel loads its module where it can.
 * @returns undefined when the kernel has no such family: the module is missing
 * @throws NetlinkError, NetlinkFormatError
 */
export async function resolveFamily(
  connection: Pick<Connection, 'get'>,
  name: string,
  signal?: AbortSignal,
): Promise<GenericFamily | undefined> {
  const attributes = new AttributeWriter().string(CTRL_ATTR_FAMILY_NAME, name).bytes()
  const request = genlMessage({ id: GENL_ID_CTRL, version: CTRL_VERSION }, CTRL_CMD_GETFAMILY, attributes)
  try {
    const { payload } = await connection.get(request, `find generic netlink family ${name}`, signal)
    return parseFamily(payload)
  } catch (error) {
    if (isNetlinkError(error, 'ENOENT')) return undefined
    throw error
  }
}

/** @throws NetlinkFormatError */
export function parseFamily(payload: Uint8Array): GenericFamily {
  let name: string | undefined
  let id: number | undefined
  let version = 1
  let groups: ReadonlyMap<string, number> = new Map()
  for (const attribute of parseGenlMessage(payload).attributes) {
    if (attribute.type === CTRL_ATTR_FAMILY_NAME) name = attribute.string()
    else if (attribute.type === CTRL_ATTR_FAMILY_ID) id = attribute.u16()
    else if (attribute.type === CTRL_ATTR_VERSION) version = attribute.u32()
    else if (attribute.type === CTRL_ATTR_MCAST_GROUPS) groups = parseGroups(attribute)
  }
  if (name === undefined || id === undefined) throw new NetlinkFormatError('family without a name or a number')
  return { name, id, version, groups }
}

function parseGroups(attribute: Attribute): ReadonlyMap<string, number> {
  const groups = new Map<string, number>()
  for (const group of attribute.nested()) {
    const fields = group.nested()
    const name = fields.find(({ type }) => type === CTRL_ATTR_MCAST_GRP_NAME)?.string()
    const id = fields.find(({ type }) => type === CTRL_ATTR_MCAST_GRP_ID)?.u32()
    if (name !== undefined && id !== undefined) groups.set(name, id)
  }
  return groups
}
