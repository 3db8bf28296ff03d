// run-tiers TIER...: runs test tiers, in this order and as many at a time as there are processors for, says what each ran, failed
// and skipped, and ends with one plain line of totals. A tier that this machine cannot run is one skipped test, with the reason.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { Image } from './image.ts'
import { SKIPPED } from './skip.ts'
import { type Count, countReport, NOTHING, plus } from './vitest-report.ts'

const WIDTH = 14
const node = join('node_modules', '.bin', 'node')
const vitest = [node, join('node_modules', 'vitest', 'vitest.mjs'), 'run']

/** Commands of a tier, in order; the last one writes the report to `file`. */
type Commands = (file: string, directory: string) => readonly (readonly string[])[]

interface Tier {
  readonly commands: Commands
  /** That it keeps busy. */
  readonly processors: number
}

const local =
  (...projects: readonly string[]): Commands =>
  file => [
    [
      ...vitest,
      ...projects.flatMap(project => ['--project', project]),
      ...['--reporter=default', '--reporter=json', `--outputFile.json=${file}`],
    ],
  ]

const LONG = process.env.PODVEIL_LONG === '1'

/**
 * In the short profile one VM for all; in the long one, where the lab's cases are among them, one for each file.
 * @param cases folders of the tier's cases, for the short profile; all when there are none
 */
const onKernel =
  (kernel: string, timeout: number, cases: readonly string[] = []): Commands =>
  (file, directory) => [
    ['test/kernel/fetch', kernel],
    LONG
      ? ['test/kernel/every-case', '--kernel', kernel, '--report', file]
      : [
          'test/kernel/run',
          ...['--kernel', kernel, '--timeout', String(timeout), '--collect', directory],
          ...['--', 'sh', '-c'],
          [
            'PODVEIL_TIER=kernel NODE_COMPILE_CACHE="$PWD/.cache/compile" exec "$@"',
            '--outputFile.json="$PODVEIL_VM_OUT"/',
          ].join(' ') + file.slice(directory.length + 1),
          'sh',
          ...vitest,
          ...['--project', 'kernel', '--reporter=default', '--reporter=json', ...cases],
        ],
  ]

/** What may differ from kernel to kernel; the whole suite is for the first one. */
const DIFFERING = ['test/kernel/cases/wireguard', 'test/kernel/cases/mesh', 'test/host/device']

const CLUSTER: Commands = file => [
  ['test/kube-apiserver/build'],
  // Where there is no way to build it, its tests alone are skipped.
  ['sh', '-c', 'test/helm/build || [ $? = 77 ]'],
  ...local('cluster')(file, ''),
]

/** A VM has one processor, and the cluster's cases wait for most of their time. */
const TIERS: Readonly<Record<string, Tier>> = {
  unit: { commands: local('unit'), processors: 2 },
  lab: { commands: local('lab', 'lab-alone'), processors: 2 },
  kernel: { commands: onKernel('6.12', 1_500), processors: 1 },
  'kernel-6.1': { commands: onKernel('6.1', 1_200, DIFFERING), processors: 1 },
  'kernel-newest': { commands: onKernel('newest', 1_200, DIFFERING), processors: 1 },
  cluster: { commands: CLUSTER, processors: 1 },
}

/** Its absence does not fail the run, whatever the reason. */
const MAY_BE_ABSENT = new Set(['kernel-newest'])

interface Outcome extends Count {
  readonly tier: string
  readonly seconds: number
  /** Why it did not run, or what went wrong beside the tests. */
  readonly note: string
}

async function runTier(tier: string, commands: Commands): Promise<Outcome> {
  const started = Date.now()
  const directory = mkdtempSync(join(tmpdir(), 'podveil-tier-'))
  const file = join(directory, 'report.json')
  const outcome = (count: Count, note = ''): Outcome => ({
    tier,
    ...count,
    seconds: Math.round((Date.now() - started) / 1000),
    note,
  })
  try {
    console.log(`${tier.padEnd(WIDTH)}begins`)
    for (const command of commands(file, directory)) {
      const { status, lastLine } = await run(tier, command)
      if (status === SKIPPED) return outcome({ ...NOTHING, skipped: 1 }, lastLine)
      const report = readReport(file)
      if (report)
        return outcome(
          status === 0 || report.failed > 0 ? report : { ...report, failed: 1 },
          status === 0 ? '' : lastLine,
        )
      if (status !== 0) {
        const note = `${command[0]} ended with status ${status}: ${lastLine}`
        return outcome(MAY_BE_ABSENT.has(tier) ? { ...NOTHING, skipped: 1 } : { ...NOTHING, failed: 1 }, note)
      }
    }
    return outcome({ ...NOTHING, failed: 1 }, 'no report was written')
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function readReport(file: string): Count | undefined {
  try {
    return countReport(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return undefined
  }
}

/** Passes output on, line by line, with the tier's name before it. @returns the status and the last line of standard error */
function run(tier: string, [program = '', ...argv]: readonly string[]): Promise<{ status: number; lastLine: string }> {
  return new Promise((resolve, reject) => {
    const path = `${join(process.cwd(), 'node_modules', '.bin')}:${process.env.PATH ?? ''}`
    const cache = process.env.NODE_COMPILE_CACHE ?? join(process.cwd(), '.cache', 'compile')
    const child = spawn(program, argv, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...(process.stdout.isTTY && { FORCE_COLOR: '1' }),
        ...process.env,
        PATH: path,
        NODE_COMPILE_CACHE: cache,
        PODVEIL_LAB_IMAGE: image.directory,
      },
    })
    let lastLine = ''
    const pass = (from: Readable, to: NodeJS.WritableStream, note: (line: string) => void) =>
      createInterface({ input: from }).on('line', line => {
        to.write(`${tier.padEnd(WIDTH)}${line}\n`)
        note(line)
      })
    pass(child.stdout, process.stdout, () => {})
    pass(child.stderr, process.stderr, line => {
      if (line.trim() !== '') lastLine = line
    })
    child.on('error', reject)
    child.on('close', status => resolve({ status: status ?? 1, lastLine }))
  })
}

/** In order, each as soon as there are processors enough; one that wants more than there are waits until it is alone. */
async function runTiers(names: readonly string[]): Promise<Outcome[]> {
  const all = availableParallelism()
  const outcomes: Promise<Outcome>[] = []
  const running = new Set<Promise<unknown>>()
  let free = all
  for (const name of names) {
    const tier = TIERS[name]
    if (!tier) throw new RangeError(`no tier ${name}: there is ${Object.keys(TIERS).join(', ')}`)
    const processors = Math.min(tier.processors, all)
    while (free < processors) await Promise.race(running)
    free -= processors
    const outcome = runTier(name, tier.commands)
    outcomes.push(outcome)
    const done: Promise<unknown> = outcome.finally(() => {
      free += processors
      running.delete(done)
    })
    running.add(done)
  }
  return await Promise.all(outcomes)
}

/** The tests' agents are what goes into the image. */
using image = new Image()

const outcomes = await runTiers(process.argv.slice(2))

console.log('\ntier            passed  failed  skipped  seconds')
for (const { tier, passed, failed, skipped, seconds, note } of outcomes) {
  const numbers = [passed, failed, skipped, seconds].map((n, i) => String(n).padStart([8, 8, 9, 9][i] ?? 8)).join('')
  console.log(`${tier.padEnd(WIDTH)}${numbers}${note === '' ? '' : `  ${note}`}`)
}
for (const { tier, reasons } of outcomes)
  for (const [reason, count] of reasons) console.log(`${tier}: skipped ${count}: ${reason}`)

for (const { tier, failures } of outcomes) for (const failure of failures) console.log(`${tier}: FAILED ${failure}`)

const total = outcomes.reduce<Count>(plus, NOTHING)
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = total.failed > 0 ? 1 : 0
