import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { between, type Random } from '#src/cluster/backoff.ts'
import { SNAPSHOT_FILE } from '#src/status/snapshot.ts'
import { FAMILIES } from '#wg/ip.ts'
import type { DeviceFile } from './device-file.ts'

/** The longest wait, milliseconds: for each peer, and for however many. */
const FOR_EACH = 1
const LONGEST = 5_000

/** About what a snapshot has of each peer, in bytes: to count them, all of it would have to be read. */
const PEER_BYTES = 1_500

/**
 * How long an agent waits that comes back to a mesh which its kernel holds, before it asks the API server. Agents that end
 * together, as by an object that none of them can bear, start together; so they ask at most a thousand in a second, but
 * for meshes beyond five thousand nodes. Where there is no mesh the node's pods wait, and the agent does not.
 * @param peers of the mesh that the kernel holds; 0 for none
 * @returns milliseconds
 */
export const startDelay = (peers: number, random: Random): number =>
  between(0, Math.min(LONGEST, peers * FOR_EACH), random)

/**
 * About how many peers the mesh has that an earlier agent left, by the size of its snapshot.
 * @param links names of the host's links that have an address
 * @returns 0 where none of its devices is there any more, as after a reboot
 */
export async function peersLeft(stateDir: string, devices: DeviceFile, links: ReadonlySet<string>): Promise<number> {
  try {
    const held = await Promise.all(FAMILIES.map(family => devices.held(family)))
    if (!held.some(device => device && links.has(device.name))) return 0
    return Math.floor((await stat(join(stateDir, SNAPSHOT_FILE))).size / PEER_BYTES)
  } catch {
    return 0
  }
}
