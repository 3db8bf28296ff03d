import { NftError } from '#wg/nftables/nft.ts'
import type { PacketFilter } from '#wg/nftables/packet-filter.ts'

interface Table {
  readonly sets: Map<string, Set<string>>
  readonly chains: Map<string, string>
}

/** A packet filter that does what a ruleset of ours says, in one transaction or not at all, as far as sets and chains go. */
export class ModelFilter implements PacketFilter {
  #table: Table | undefined
  #generation = 1

  get sets(): ReadonlyMap<string, ReadonlySet<string>> {
    return this.#table?.sets ?? new Map()
  }

  /** Names of the chains that have rules. */
  get chains(): ReadonlySet<string> {
    return new Set(this.#table?.chains.keys())
  }

  /** Somebody else makes a transaction. */
  meddle(change: (table: Table) => void): void {
    if (this.#table) change(this.#table)
    this.#generation++
  }

  async apply(ruleset: string): Promise<void> {
    const before = this.#table
    this.#table = before && { sets: new Map(before.sets), chains: new Map(before.chains) }
    try {
      for (const [line] of ruleset.matchAll(/^.+$/gm)) this.#run(line)
      for (const [, name = '', rules = ''] of ruleset.matchAll(/^ {2}chain (\w+) \{\n(.*?)^ {2}\}/gms))
        this.#there().chains.set(name, rules)
    } catch (error) {
      this.#table = before
      throw error
    }
    this.#generation++
  }

  async list(): Promise<string | undefined> {
    if (!this.#table) return undefined
    const sets = [...this.#table.sets].map(([name, elements]) => {
      const listed = elements.size === 0 ? '' : `\t\telements = { ${[...elements].join(', ')} }\n`
      return `\tset ${name} {\n\t\tflags interval\n${listed}\t}\n\n`
    })
    const chains = [...this.#table.chains].map(([name, rules]) => `\tchain ${name} {\n${rules}\t}\n`)
    return `table inet podveil {\n${sets.join('')}${chains.join('')}}\n`
  }

  async generation(): Promise<number> {
    return this.#generation
  }

  #run(line: string): void {
    if (line.startsWith('table inet podveil')) this.#table ??= { sets: new Map(), chains: new Map() }
    else if (line === 'delete table inet podveil') this.#table = undefined
    else if (line === 'flush table inet podveil') this.#there().chains.clear()
    const [, declared] = /^ {2}set (\w+) \{/.exec(line) ?? []
    if (declared !== undefined) this.#there().sets.set(declared, this.#there().sets.get(declared) ?? new Set())
    const [, verb, set = '', list = ''] = /^(add|delete) element inet podveil (\w+) \{ (.*) \}$/.exec(line) ?? []
    if (verb !== undefined) this.#change(verb, set, list.split(', '))
  }

  #change(verb: string, set: string, elements: readonly string[]): void {
    const present = this.#there().sets.get(set)
    if (!present) throw new NftError(`no set ${set}`)
    const after = new Set(present)
    for (const element of elements) {
      if (verb === 'add') after.add(element)
      else if (!after.delete(element)) throw new NftError(`no element ${element}`)
    }
    this.#there().sets.set(set, after)
  }

  #there(): Table {
    if (!this.#table) throw new NftError('no such table')
    return this.#table
  }
}
