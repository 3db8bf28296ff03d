import { socketAddon } from '#wg/native/addon.ts'

/**
 * Gives back the part of Node.js' own file that only a start looks at: 25 of some 50 MB, which would stay mapped for as long as
 * the agent runs. No more than that is lost, as what runs is mapped again from the page cache.
 */
export function releaseStart(): void {
  try {
    socketAddon().releaseProgram()
  } catch {
    // It is only about room: a node that does not encrypt gets along without the addon, and an older build of it has no such thing.
  }
}
