import { setTimeout as pause } from 'node:timers/promises'
import type { Load } from '#src/lab/apiserver/load-meter.ts'
import { Lab } from '#src/lab/lab.ts'
import { waitUntil } from '#src/lab/wait.ts'
import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { ApiMeter, type Asked, requests } from './api-meter.ts'
import { dataplane } from './dataplane.ts'

const LIMIT_MS = 300_000
/** What agents still ask when they say that they are ready: their status, their Lease. */
const SETTLING_MS = 3_000

/** What real agents ask of the API server: at start, when nothing happens, when they are restarted, and when the API server is. */
export async function apiLoad({ apiAgents, steadySeconds }: Profile): Promise<Table> {
  const name = `bench-${process.pid}-api`
  const meter = new ApiMeter(name)
  await using lab = await Lab.up({ name, nodes: apiAgents, families: '4', dataplane: dataplane(), agents: false })
  const allReady = async (): Promise<void> => {
    for (const { agent } of lab.nodes) await agent.ready(LIMIT_MS)
    await encrypted(lab)
    await pause(SETTLING_MS)
  }
  const phases: Readonly<Record<string, () => Promise<Asked>>> = {
    'all agents start at once, encryption off': () =>
      meter.during(async () => {
        await Promise.all(lab.nodes.map(({ agent }) => agent.start()))
        for (const { agent } of lab.nodes) await agent.ready(LIMIT_MS)
        await pause(SETTLING_MS)
      }),
    'encryption is turned on': () =>
      meter.during(async () => {
        await lab.setEncryption(true)
        await allReady()
      }),
    'nothing happens': () => meter.during(() => pause(steadySeconds * 1_000)),
    'agents are restarted one after another': () =>
      meter.during(async () => {
        for (const { agent } of lab.nodes) {
          await agent.restart()
          await agent.ready(LIMIT_MS)
        }
        await allReady()
      }),
    'all agents are restarted at once': () =>
      meter.during(async () => {
        await Promise.all(lab.nodes.map(({ agent }) => agent.restart()))
        await allReady()
      }),
    'the API server is restarted': async () => {
      const watches = await meter.openWatches()
      await lab.api.stop()
      return await meter.during(
        async () => {
          await lab.api.start()
          const back = async (): Promise<boolean> => (await meter.openWatches()) >= watches
          await waitUntil(back, LIMIT_MS, `${watches} watches to be open again`)
          await pause(SETTLING_MS)
        },
        { fromZero: true },
      )
    },
  }
  const rows: Row[] = []
  for (const [what, phase] of Object.entries(phases)) rows.push(told(row(what, await phase(), apiAgents)))
  return {
    name: 'api-load',
    title: 'Load of the API server',
    notes: [
      `${apiAgents} real agents in one lab, with the Node objects of the lab (1 kB) and no kubelets, counted by the lab’s own API server; nothing is extrapolated. Bytes are of bodies as they were sent, without TLS and headers. An agent is sent each Node of the mesh, so what it reads grows with the mesh, and what the whole cluster reads with the square of it.`,
      'A watch counts as the one request that opens it. “Busiest second” is the most requests of all agents that came within one. All of these are counts, which the machine’s speed does not change, and all of them are ours. A watch ends after five to ten minutes and is opened anew from where it was, which a minute seldom shows.',
    ],
    rows,
  }
}

function row(what: string, { loads, seconds, busiest }: Asked, agents: number): Row {
  const of = (...verbs: readonly string[]): number => requests(loads.filter(({ verb }) => verbs.includes(verb)))
  const sum = (field: 'bytesIn' | 'bytesOut' | 'events'): number => loads.reduce((all, load) => all + load[field], 0)
  return {
    what,
    seconds,
    requests: requests(loads),
    'an agent': requests(loads) / agents,
    'get and list': of('get', 'list'),
    watch: of('watch'),
    writes: of('create', 'update', 'patch', 'delete'),
    'busiest second': busiest,
    'events sent': sum('events'),
    'kB sent': sum('bytesOut') / 1_000,
    'kB to an agent': sum('bytesOut') / 1_000 / agents,
    'kB received': sum('bytesIn') / 1_000,
    'most asked for': most(loads),
  }
}

/** The paths with the most requests. */
function most(loads: readonly Load[]): string {
  const totals = new Map<string, number>()
  for (const { verb, path, requests } of loads)
    totals.set(`${verb} ${path}`, (totals.get(`${verb} ${path}`) ?? 0) + requests)
  const sorted = [...totals].filter(([, count]) => count > 0).toSorted(([, a], [, b]) => b - a)
  return sorted
    .slice(0, 3)
    .map(([path, count]) => `${count} × ${path}`)
    .join(', ')
}

/** By the kernels' own word. */
async function encrypted(lab: Lab): Promise<void> {
  const all = async (): Promise<boolean> => (await lab.steering()).every(way => way.encrypted)
  await waitUntil(all, LIMIT_MS, 'all pairs to be encrypted')
}
