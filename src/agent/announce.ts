import { annotations } from '#src/cluster/annotations.ts'
import type { Announcement, SpareAnnouncement } from '#src/mesh/node-record.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'

/** What this node says of its two devices in one family. */
export interface FamilyAnnouncement {
  readonly main: Announcement | undefined
  readonly spare: SpareAnnouncement | undefined
}

/** The annotations that say this on our own Node; null withdraws one. */
export function announcementAnnotations(
  announced: Readonly<Record<Family, FamilyAnnouncement>>,
): Map<string, string | null> {
  const desired = new Map<string, string | null>()
  for (const family of FAMILIES) {
    const { main: own, spare } = announced[family]
    desired.set(annotations.publicKey[family], own?.publicKey ?? null)
    desired.set(annotations.interfaceAddress[family], own?.interfaceAddress ?? null)
    desired.set(annotations.port[family], own?.port === undefined ? null : String(own.port))
    desired.set(annotations.encryptsHosts[family], own?.encryptsHosts ? 'true' : null)
    desired.set(annotations.spareKey[family], spare?.publicKey ?? null)
    desired.set(annotations.sparePort[family], spare === undefined ? null : String(spare.port))
    desired.set(annotations.move[family], spare?.move ?? null)
  }
  const hello = announced[4].main?.hello ?? announced[6].main?.hello
  desired.set(annotations.hello, hello === undefined ? null : String(hello))
  return desired
}
