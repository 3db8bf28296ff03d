import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Machine, machineText } from './machine.ts'
import { markdown, type Table } from './table.ts'

/** Of what the VM of the kernel tier writes, only what is here is left. */
const RESULTS = process.env.PODVEIL_VM_OUT ?? fileURLToPath(new URL('../../docs/benchmarks', import.meta.url))

/** How busy the machine was before and after. */
export interface Busyness {
  readonly before: number
  readonly after: number
}

/** Writes a table and its JSON where the documentation has them. */
export function write(table: Table, machine: Machine, load: Busyness): void {
  mkdirSync(RESULTS, { recursive: true })
  const file = `${RESULTS}/${table.name}${machine.vm ? '.vm' : ''}`
  const date = new Date().toISOString().slice(0, 10)
  writeFileSync(`${file}.json`, `${JSON.stringify({ date, machine, load, ...table }, null, 2)}\n`)
  const busy = `Load of the machine ${load.before} at the start and ${load.after} at the end, this benchmark’s own included.`
  writeFileSync(`${file}.md`, `# ${table.title}\n\n${date}, ${machineText(machine)}. ${busy}\n\n${body(table)}`)
}

/** Without the heading, which is the document's own there. */
const body = (table: Table): string => markdown(table).split('\n').slice(2).join('\n')
