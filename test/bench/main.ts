// main.ts [--smoke] [--write] [--profiles DIR] [--nodes N,N] [--changes N] [--seconds N] [NAME...]: runs the benchmarks, or those that are
// named, and prints their tables; with --write they also go to docs/benchmarks.
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Lab } from '#src/lab/lab.ts'
import { hasUserspaceWireGuard, missingRequirement } from '#src/lab/requirements.ts'
import { knownLabs } from '#src/lab/state.ts'
import { oneChange } from './agent/change.ts'
import { peerSource } from './agent/peer-source.ts'
import { agentStart } from './agent/start.ts'
import { steadyState } from './agent/steady.ts'
import { convergence } from './convergence.ts'
import { machine, machineText } from './machine.ts'
import { netlink } from './netlink.ts'
import { planner } from './planner.ts'
import { FULL, type Profile, SMOKE } from './profile.ts'
import { markdown, type Table } from './table.ts'

const RESULTS = fileURLToPath(new URL('../../docs/benchmarks', import.meta.url))

const BENCHMARKS: Readonly<Record<string, (profile: Profile) => Promise<Table>>> = {
  planner,
  netlink,
  'agent-start': agentStart,
  'one-change': oneChange,
  'steady-state': steadyState,
  'peer-source': peerSource,
  convergence,
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    smoke: { type: 'boolean', default: false },
    profiles: { type: 'string' },
    nodes: { type: 'string' },
    changes: { type: 'string' },
    seconds: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
})
const unknown = positionals.find(name => !(name in BENCHMARKS))
if (unknown !== undefined)
  throw new RangeError(`no benchmark ${unknown}: there is ${Object.keys(BENCHMARKS).join(', ')}`)
const profile: Profile = {
  ...(values.smoke ? SMOKE : FULL),
  profiles: values.profiles,
  ...(values.nodes !== undefined && { sizes: values.nodes.split(',').map(Number) }),
  ...(values.changes !== undefined && { changes: Number(values.changes) }),
  ...(values.seconds !== undefined && { steadySeconds: Number(values.seconds) }),
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    const ours = knownLabs().filter(name => name.startsWith(`bench-${process.pid}-`))
    void Promise.allSettled(ours.map(name => Lab.remove(name))).then(() => process.exit(130))
  })

const where = machine()
console.log(machineText(where))
const hasDevices = process.env.PODVEIL_TIER === 'kernel' || hasUserspaceWireGuard()
const missing =
  missingRequirement(['openssl', 'wg'])?.message ?? (hasDevices ? undefined : 'wireguard-go or /dev/net/tun is missing')
for (const name of positionals.length > 0 ? positionals : Object.keys(BENCHMARKS)) {
  if (missing !== undefined && name !== 'planner') {
    console.log(`\nskipped ${name}: ${missing}`)
    continue
  }
  const began = performance.now()
  const table = await BENCHMARKS[name]?.(profile)
  if (!table) continue
  console.log(`\n${markdown(table)}`)
  console.log(`(${Math.round((performance.now() - began) / 1_000)} s)`)
  if (values.write) write(table)
}

function write(table: Table): void {
  mkdirSync(RESULTS, { recursive: true })
  const suffix = where.vm ? '.vm' : ''
  const date = new Date().toISOString().slice(0, 10)
  writeFileSync(
    `${RESULTS}/${table.name}${suffix}.json`,
    `${JSON.stringify({ date, machine: where, ...table }, null, 2)}\n`,
  )
  writeFileSync(
    `${RESULTS}/${table.name}${suffix}.md`,
    `# ${table.title}\n\n${date}, ${machineText(where)}.\n\n${body(table)}`,
  )
}

/** Without the heading, which is the document's own there. */
function body(table: Table): string {
  return markdown(table).split('\n').slice(2).join('\n')
}
