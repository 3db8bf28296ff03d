import { annotations } from '#src/cluster/annotations.ts'
import type { Announcement } from '#src/mesh/node-record.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'

/** The annotations that say this on our own Node; null withdraws one. */
export function announcementAnnotations(
  announced: Readonly<Record<Family, Announcement | undefined>>,
): Map<string, string | null> {
  const desired = new Map<string, string | null>()
  for (const family of FAMILIES) {
    const own = announced[family]
    desired.set(annotations.publicKey[family], own?.publicKey ?? null)
    desired.set(annotations.interfaceAddress[family], own?.interfaceAddress ?? null)
    desired.set(annotations.port[family], own?.port === undefined ? null : String(own.port))
  }
  const hello = announced[4]?.hello ?? announced[6]?.hello
  desired.set(annotations.hello, hello === undefined ? null : String(hello))
  return desired
}
