import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { applyRuleset } from '#wg/nftables/nft.ts'
import { removal } from '#wg/nftables/ruleset.ts'
import { BREAK_GLASS_FILE, GUARD_FILE } from './guard-files.ts'
import { replaceStateFile } from './state-file.ts'

/**
 * Opens or closes the guard on this node. Opening takes the whole table away at once, whether an agent runs or not; one
 * that runs puts back all but the guard, and says every minute that it stands open.
 * @throws NftError
 */
export async function breakGlass(
  { mend, reason, stateDir }: { mend?: true; reason: string; stateDir: string },
  say: (line: string) => void,
): Promise<void> {
  const file = join(stateDir, BREAK_GLASS_FILE)
  if (mend) {
    await rm(file, { force: true })
    say('the guard is closed again as soon as the agent looks: within ten seconds')
    return
  }
  // One line, so that it stays one line in the log.
  const words = reason.replaceAll(/\s+/g, ' ').slice(0, 200)
  await replaceStateFile(file, `${new Date().toISOString()}: ${words}\n`)
  await rm(join(stateDir, GUARD_FILE), { force: true })
  await applyRuleset(removal)
  say('the guard is open on this node: pod traffic may go in clear. Close it with: podveil break-glass --mend')
}
