// Adds, lists and deletes routes in a network namespace of its own with Podveil's connection, with `ip -batch` and with
// node-netlink, taking turns, and prints medians and ratios. Needs root, iproute2 and a built addon. README.md says how.

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { parseCidr } from '#wg/ip.ts'
import { makeRoute, type Route } from '#wg/rtnetlink/route.ts'
import { RouteNetlink, type RouteOperation } from '#wg/rtnetlink/route-netlink.ts'

const TABLE = 4000
const PROTOCOL = 80
const CHILD = join(import.meta.dirname, 'node-netlink')
const STEPS = ['add', 'list', 'delete'] as const

type Step = (typeof STEPS)[number]
type Timings = Record<Step, number>
type Contender = (() => Promise<Timings> | Timings) | { readonly skipped: string }

const { values } = parseArgs({
  options: { routes: { type: 'string', default: '10000' }, rounds: { type: 'string', default: '5' } },
})
const count = Number(values.routes)
const rounds = Number(values.rounds)
const namespace = `podveil-bench-${process.pid}`
let longestHold = 0

execFileSync('ip', ['netns', 'add', namespace])
try {
  const kind = addDevice()
  await compare(kind)
} finally {
  execFileSync('ip', ['netns', 'delete', namespace])
}

async function compare(kind: string): Promise<void> {
  using netlink = RouteNetlink.openIn(`/run/netns/${namespace}`)
  const device = (await netlink.link('t0'))?.index ?? 0
  const contenders: [string, Contender][] = [
    ['podveil', () => podveil(netlink, device)],
    ['ip -batch', ipBatch],
    ['node-netlink', nodeNetlink(device)],
  ]
  console.log(`${count} IPv4 routes on ${kind}, median of ${rounds} rounds, Node.js ${process.version}`)
  const timings = new Map<string, Timings[]>()
  for (let round = 0; round < rounds; round++) {
    for (const [name, contender] of contenders)
      if (typeof contender === 'function') timings.set(name, [...(timings.get(name) ?? []), await contender()])
  }
  report(contenders, timings)
}

function report(contenders: readonly [string, Contender][], timings: ReadonlyMap<string, Timings[]>): void {
  const typical = (name: string, step: Step): number => median((timings.get(name) ?? []).map(timing => timing[step]))
  console.log(['', ...STEPS.map(step => `${step} ms`), ...STEPS.map(step => `${step} ratio`)].map(cell).join(''))
  for (const [name, contender] of contenders) {
    if (typeof contender !== 'function') {
      console.log(`${cell(name)}skipped: ${contender.skipped}`)
      continue
    }
    const times = STEPS.map(step => typical(name, step).toFixed(1))
    const ratios = STEPS.map(step => `${(typical(name, step) / typical('ip -batch', step)).toFixed(2)}x`)
    console.log([name, ...times, ...ratios].map(cell).join(''))
  }
  console.log(`longest time that podveil held the event loop: ${longestHold.toFixed(1)} ms`)
}

function cell(text: string): string {
  return text.padEnd(14)
}

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN
}

function destination(n: number): string {
  return `10.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`
}

function addDevice(): string {
  for (const kind of ['dummy', 'ifb']) {
    if (spawnSync('ip', ['-n', namespace, 'link', 'add', 't0', 'type', kind]).status !== 0) continue
    execFileSync('ip', ['-n', namespace, 'link', 'set', 't0', 'up'])
    return kind
  }
  throw new Error('this kernel has neither dummy nor ifb links')
}

async function timed(step: () => unknown): Promise<number> {
  const start = performance.now()
  await step()
  return performance.now() - start
}

async function podveil(netlink: RouteNetlink, device: number): Promise<Timings> {
  const route = (n: number): Route =>
    makeRoute({ table: TABLE, destination: parseCidr(destination(n)), type: 'unicast', device, protocol: PROTOCOL })
  const operations = (op: RouteOperation['op']): RouteOperation[] =>
    Array.from({ length: count }, (_, n) => ({ op, route: route(n) }))
  const apply = async (all: readonly RouteOperation[]): Promise<void> => {
    for (const error of await netlink.applyRoutes(all)) if (error !== undefined) throw error
  }
  const [replacing, deleting] = [operations('replace'), operations('delete')]
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const add = await timed(() => apply(replacing))
  const list = await timed(async () => {
    const { length } = await netlink.routes({ family: 4, table: TABLE })
    if (length !== count) throw new Error(`${length} of ${count} routes`)
  })
  const timings = { add, list, delete: await timed(() => apply(deleting)) }
  delay.disable()
  longestHold = Math.max(longestHold, delay.max / 1e6)
  return timings
}

async function ipBatch(): Promise<Timings> {
  const batch = (verb: string): string =>
    Array.from(
      { length: count },
      (_, n) => `route ${verb} ${destination(n)}/32 dev t0 table ${TABLE} proto ${PROTOCOL}\n`,
    ).join('')
  const [replacing, deleting] = [batch('replace'), batch('del')]
  const ip = (args: string[], input = ''): string =>
    execFileSync('ip', ['-n', namespace, ...args], { input, encoding: 'utf8', maxBuffer: 1 << 28 })
  return {
    add: await timed(() => ip(['-batch', '-'], replacing)),
    list: await timed(() => ip(['route', 'show', 'table', String(TABLE)])),
    delete: await timed(() => ip(['-batch', '-'], deleting)),
  }
}

/** In a process of its own inside of the namespace, because it cannot open a socket in another one. */
function nodeNetlink(device: number): Contender {
  if (!existsSync(join(CHILD, 'node_modules/node-netlink')))
    return { skipped: 'run npm ci in test/bench/netlink/node-netlink to compare with it' }
  const program = join(CHILD, 'run.mjs')
  const args = ['netns', 'exec', namespace, process.execPath, program, String(device), String(count)]
  return () => JSON.parse(execFileSync('ip', args, { encoding: 'utf8' }))
}
