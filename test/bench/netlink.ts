import { hasWireGuard } from '../kernel/cases/support/kernel-devices.ts'
import { median } from './distribution.ts'
import { peerSteps } from './netlink/peers.ts'
import { routeSteps } from './netlink/routes.ts'
import type { Step, Steps } from './netlink/step.ts'
import { type Calls, callsOf, canCount, ownCalls } from './netlink/system-calls.ts'
import type { Profile } from './profile.ts'
import { type Row, type Table, told } from './table.ts'

interface Timing {
  readonly step: Pick<Step, 'what' | 'tool' | 'requests'>
  readonly podveil: number
  /** Of a processor, Podveil's, in user mode and in the kernel, all threads of the process included. */
  readonly user: number
  readonly system: number
  readonly tools: number
  /** Of the tool's time, what it takes it to start and to end. */
  readonly start: number
}

interface Counted {
  readonly podveil: Calls
  readonly tools: Calls
}

/** The same kernel work by Podveil's netlink and by the C tools, in turns: peers where this kernel has WireGuard, routes everywhere. */
export async function netlink({ netlinkSizes, rounds }: Profile): Promise<Table> {
  const kinds = [...((await hasWireGuard()) ? [peerSteps] : []), routeSteps]
  const rows: Row[] = []
  for (const make of kinds)
    for (const size of netlinkSizes) {
      const measured: Timing[][] = []
      for (let round = 0; round < rounds; round++) measured.push(await time(make(size), round))
      // Last, and not timed: a process that is traced is slow.
      const counted = await count(make(size))
      for (const [at, { step }] of (measured[0] ?? []).entries()) {
        const turns = measured.flatMap(timings => timings[at] ?? [])
        rows.push(told(row(size, step, turns, counted[at])))
      }
    }
  return {
    name: 'netlink',
    title: 'Netlink against the C tools',
    notes: [
      `Medians of ${rounds} turns, each in a new network namespace, Podveil and the tool by turns first. “First” is the first turn, in a process that has not done this before, as an agent’s is that has just started. A tool’s time includes its start as a process, which is part of what it costs to use it; “without its start” is less the time in which it prints its version. Podveil’s has no start of Node.js, which runs anyway.`,
      `${canCount() ? 'System calls are counted by strace in a further turn, of all threads of the process.' : 'System calls are not counted: there is no strace here.'} Requests are netlink messages; Podveil sends up to 200 of them in one call, and takes up to 64 datagrams in another. The kernel’s own work is the same on both sides, since what is asked for is: it is the “system” part of Podveil’s time, in milliseconds of a processor. The “user” part is V8’s and ours: it has garbage collection and compilation of all threads in it.`,
      ...(kinds.length > 1 ? [] : ['This kernel has no WireGuard: peers are measured in the VM of the kernel tier.']),
    ],
    rows,
  }
}

async function time(made: Promise<Steps>, round: number): Promise<Timing[]> {
  await using all = await made
  const { steps, startTool } = all
  const timings: Timing[] = []
  for (const { podveil, tools, ...step } of steps) {
    const toolFirst = round % 2 === 1 ? await timed(tools) : undefined
    const before = process.cpuUsage()
    const own = await timed(podveil)
    const { user, system } = process.cpuUsage(before)
    const other = toolFirst ?? (await timed(tools))
    const start = await timed(startTool)
    timings.push({ step, podveil: own, user: user / 1_000, system: system / 1_000, tools: other, start })
  }
  return timings
}

async function count(made: Promise<Steps>): Promise<Counted[]> {
  await using all = await made
  const counted: Counted[] = []
  for (const { podveil, tools } of all.steps)
    counted.push({ podveil: await ownCalls(podveil), tools: await callsOf(tools) })
  return counted
}

function row(size: number, step: Timing['step'], turns: readonly Timing[], counted: Counted | undefined): Row {
  const [first] = turns
  const ratios = turns.map(({ podveil, tools }) => podveil / tools)
  const typical = (field: 'podveil' | 'user' | 'system' | 'tools' | 'start'): number =>
    median(turns.map(turn => turn[field]))
  const work = typical('tools') - typical('start')
  const ours = counted?.podveil
  const theirs = counted?.tools
  return {
    what: `${size.toLocaleString('en')} ${step.what}`,
    'Podveil ms': typical('podveil'),
    'of it user': typical('user'),
    system: typical('system'),
    tool: step.tool,
    'tool ms': typical('tools'),
    ratio: median(ratios),
    'ratio from': Math.min(...ratios),
    to: Math.max(...ratios),
    first: first ? first.podveil / first.tools : Number.NaN,
    'ratio without its start': work > 0 ? typical('podveil') / work : Number.NaN,
    'our requests': step.requests,
    'our sends': ours?.sends ?? Number.NaN,
    'our receives': ours?.receives ?? Number.NaN,
    'our calls': ours?.all ?? Number.NaN,
    'its sends': theirs?.sends ?? Number.NaN,
    'its receives': theirs?.receives ?? Number.NaN,
    'its calls': theirs?.all ?? Number.NaN,
  }
}

async function timed(step: () => unknown): Promise<number> {
  const began = performance.now()
  await step()
  return performance.now() - began
}
