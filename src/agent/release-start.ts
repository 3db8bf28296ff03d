import { setFlagsFromString } from 'node:v8'
import { socketAddon } from '#wg/native/addon.ts'

/**
 * Gives back what only a start needs; may be called again. Of Node.js' own file that are 25 of some 50 MB, which would stay mapped for as long as the
 * agent runs; no more than that is lost, as what runs is mapped again from the page cache. Of the heap it is room between what is
 * left of it: from now on V8 moves things together sooner, which while a start goes on would only take time.
 */
export function releaseStart(): void {
  try {
    socketAddon().releaseProgram()
  } catch {
    // It is only about room: a node that does not encrypt gets along without the addon, and an older build of it has no such thing.
  }
  setFlagsFromString('--optimize-for-size')
}
