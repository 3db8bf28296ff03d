import { statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isObject, listOf, member } from '#src/cluster/hostile.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'
import { readStateFile, replaceStateFile } from './state-file.ts'

/** A file whose presence says that an operator has opened the guard on this node. */
export const BREAK_GLASS_FILE = 'break-glass'
/** The ruleset that a node loads at boot, with `nft -f`, before its network is used and before there is an agent. */
export const GUARD_FILE = 'guard.nft'
const ARMED_FILE = 'armed.json'

/** What of the guard outlives the agent and the boot, in the state directory. */
export class GuardFiles {
  readonly #directory: string
  #ruleset: string | undefined
  /** What the file says. */
  #armed: { readonly text: string; readonly of: Readonly<Record<Family, ReadonlySet<NodeName>>> } | undefined

  constructor(stateDir: string) {
    this.#directory = stateDir
  }

  /** What the operator wrote when he opened the guard; undefined while it is whole. */
  async broken(): Promise<string | undefined> {
    const file = join(this.#directory, BREAK_GLASS_FILE)
    // It is asked in each pass, and hardly ever there: to open what is not takes a thread and an error.
    if (!statSync(file, { throwIfNoEntry: false })) return undefined
    return (await readStateFile(file))?.trim().slice(0, 256)
  }

  /** @param ruleset undefined when there is nothing to load at boot */
  async keepRuleset(ruleset: string | undefined): Promise<void> {
    if (this.#ruleset === (ruleset ?? '')) return
    const path = join(this.#directory, GUARD_FILE)
    if (ruleset === undefined) await rm(path, { force: true })
    else await replaceStateFile(path, ruleset)
    this.#ruleset = ruleset ?? ''
  }

  /** @param armed never changed in place */
  async keepArmed(armed: Readonly<Record<Family, ReadonlySet<NodeName>>>): Promise<void> {
    if (armed === this.#armed?.of) return
    const text = JSON.stringify({ 4: [...armed[4]].sort(), 6: [...armed[6]].sort() })
    if (text !== this.#armed?.text) await replaceStateFile(join(this.#directory, ARMED_FILE), `${text}\n`)
    this.#armed = { text, of: armed }
  }

  /** What was armed when the agent last ran; nothing where the file is missing or damaged: hellos will tell again. */
  async readArmed(): Promise<Record<Family, Set<NodeName>>> {
    const armed: Record<Family, Set<NodeName>> = { 4: new Set(), 6: new Set() }
    const text = await readStateFile(join(this.#directory, ARMED_FILE))
    const parsed = parse(text ?? '{}')
    if (!isObject(parsed)) return armed
    for (const family of FAMILIES) {
      const names = member(parsed, String(family))
      if (!Array.isArray(names)) continue
      for (const name of listOf(names)) if (typeof name === 'string') armed[family].add(name as NodeName)
    }
    return armed
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
