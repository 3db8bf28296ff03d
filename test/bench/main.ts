// main.ts [--smoke] [--write] [--profiles DIR] [--nodes N,N] [--agents N,N] [--rounds N] [--changes N] [--seconds N] [NAME...]: runs the benchmarks, or those that are
// named, and prints their tables; with --write they also go to docs/benchmarks.
import { parseArgs } from 'node:util'
import { hasUserspaceWireGuard, missingRequirement } from '#src/lab/requirements.ts'
import { oneChange } from './agent/change.ts'
import { peerSource } from './agent/peer-source.ts'
import { soak } from './agent/soak.ts'
import { agentStart } from './agent/start.ts'
import { steadyState } from './agent/steady.ts'
import { cleanUpOnSignals } from './clean-up.ts'
import { apiLoad } from './lab/api-load.ts'
import { convergence } from './lab/convergence.ts'
import { dataPath } from './lab/data-path.ts'
import { busyness, machine, machineText } from './machine.ts'
import { netlink } from './netlink.ts'
import { planner } from './planner.ts'
import { FULL, type Profile, SMOKE } from './profile.ts'
import { write } from './results.ts'
import { markdown, type Table } from './table.ts'

const BENCHMARKS: Readonly<Record<string, (profile: Profile) => Promise<Table>>> = {
  planner,
  netlink,
  'agent-start': agentStart,
  'one-change': oneChange,
  'steady-state': steadyState,
  'peer-source': peerSource,
  'api-load': apiLoad,
  convergence,
  'data-path': dataPath,
  soak,
}

/** Programs beyond what a lab of one agent needs. */
const NEEDS: Readonly<Record<string, readonly string[]>> = { 'data-path': ['openssl', 'wg', 'iperf3'] }

/** Run only where they are named, and in the smoke profile. */
const LONG: readonly string[] = ['soak']

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    smoke: { type: 'boolean', default: false },
    profiles: { type: 'string' },
    nodes: { type: 'string' },
    agents: { type: 'string' },
    rounds: { type: 'string' },
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
  ...(values.nodes !== undefined && { sizes: list(values.nodes), netlinkSizes: list(values.nodes) }),
  ...(values.rounds !== undefined && { rounds: Number(values.rounds) }),
  ...(values.changes !== undefined && { changes: Number(values.changes) }),
  ...(values.agents !== undefined && { agents: list(values.agents), apiAgents: list(values.agents)[0] ?? 1 }),
  ...(values.seconds !== undefined && lasting(Number(values.seconds))),
}

function list(numbers: string): number[] {
  return numbers.split(',').map(Number)
}

function lasting(seconds: number): Pick<Profile, 'steadySeconds' | 'soakSeconds' | 'transferSeconds'> {
  return { steadySeconds: seconds, soakSeconds: seconds, transferSeconds: seconds }
}

cleanUpOnSignals()
const where = machine()
console.log(machineText(where))
const hasDevices = process.env.PODVEIL_TIER === 'kernel' || hasUserspaceWireGuard()
const missingFor = (name: string): string | undefined =>
  missingRequirement(NEEDS[name] ?? ['openssl', 'wg'])?.message ??
  (hasDevices ? undefined : 'wireguard-go or /dev/net/tun is missing')
const usual = Object.keys(BENCHMARKS).filter(name => values.smoke || !LONG.includes(name))
for (const name of positionals.length > 0 ? positionals : usual) {
  const missing = name === 'planner' ? undefined : missingFor(name)
  if (missing !== undefined) {
    console.log(`\nskipped ${name}: ${missing}`)
    continue
  }
  const began = performance.now()
  const before = busyness()
  const table = await BENCHMARKS[name]?.(profile)
  if (!table) continue
  console.log(`\n${markdown(table)}`)
  console.log(`(${Math.round((performance.now() - began) / 1_000)} s)`)
  if (values.write) write(table, where, { before, after: busyness() })
}
