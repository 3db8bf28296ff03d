import { applyRuleset, listTable } from './nft.ts'
import { type DesiredFirewall, listedFingerprint, removal, ruleset, TABLE } from './ruleset.ts'

/** Keeps our table as it must be, whatever was there before and whoever changes it. */
export class Firewall {
  /** What was written last, as text; undefined when the table has to be looked at first. */
  #written: string | undefined

  /** @param desired undefined removes the table @returns whether anything was written @throws NftError */
  async reconcile(desired: DesiredFirewall | undefined): Promise<boolean> {
    const wanted = desired ? ruleset(desired, undefined) : ''
    if (wanted === this.#written) return false
    const listed = await listTable(TABLE)
    if (desired) await applyRuleset(ruleset(desired, listedFingerprint(listed)))
    else if (listed !== undefined) await applyRuleset(removal)
    this.#written = wanted
    return desired !== undefined || listed !== undefined
  }

  /** The next reconciliation looks at the kernel again. */
  distrust(): void {
    this.#written = undefined
  }
}
