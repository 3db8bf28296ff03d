// run-tiers TIER...: runs test tiers one after the other, says what each ran, failed and skipped, and ends with one plain
// line of totals. A tier that this machine cannot run is one skipped test, with the reason.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Image } from './image.ts'
import { SKIPPED } from './skip.ts'
import { type Count, countReport, NOTHING, plus } from './vitest-report.ts'

const node = join('node_modules', '.bin', 'node')
const vitest = [node, join('node_modules', 'vitest', 'vitest.mjs'), 'run']

/** Commands of a tier, in order; the last one writes the report to `file`. */
type Tier = (file: string, directory: string) => readonly (readonly string[])[]

const local =
  (project: string): Tier =>
  file => [[...vitest, '--project', project, '--reporter=default', '--reporter=json', `--outputFile.json=${file}`]]

/** @param cases folders of the tier's cases, all when there are none */
const onKernel =
  (kernel: string, timeout: number, cases: readonly string[] = []): Tier =>
  (file, directory) => [
    ['test/kernel/fetch', kernel],
    [
      'test/kernel/run',
      ...['--kernel', kernel, '--timeout', String(timeout), '--memory', MEMORY, '--collect', directory],
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

const LONG = process.env.PODVEIL_LONG === '1'

/** MiB: ten nodes of the lab, with an agent and a probe each, or two. */
const MEMORY = LONG ? '6144' : '1536'

/** What may differ from kernel to kernel; the whole suite is for the first one, or for the long profile. */
const DIFFERING = LONG ? [] : ['test/kernel/cases/wireguard', 'test/kernel/cases/mesh', 'test/host/device']

const TIERS: Readonly<Record<string, Tier>> = {
  unit: local('unit'),
  lab: local('lab'),
  kernel: onKernel('6.12', LONG ? 14_400 : 1_500),
  'kernel-6.1': onKernel('6.1', LONG ? 14_400 : 1_200, DIFFERING),
  'kernel-newest': onKernel('newest', LONG ? 14_400 : 1_200, DIFFERING),
  cluster: file => [
    ['test/kube-apiserver/build'],
    // Where there is no way to build it, its tests alone are skipped.
    ['sh', '-c', 'test/helm/build || [ $? = 77 ]'],
    ...local('cluster')(file, ''),
  ],
}

/** Its absence does not fail the run, whatever the reason. */
const MAY_BE_ABSENT = new Set(['kernel-newest'])

interface Outcome extends Count {
  readonly tier: string
  readonly seconds: number
  /** Why it did not run, or what went wrong beside the tests. */
  readonly note: string
}

async function runTier(tier: string, commands: Tier): Promise<Outcome> {
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
    console.log(`\n=== ${tier} ===`)
    for (const command of commands(file, directory)) {
      const { status, lastLine } = await run(command)
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

/** Passes output on as it comes. @returns the status and the last line of standard error */
function run([program = '', ...argv]: readonly string[]): Promise<{ status: number; lastLine: string }> {
  return new Promise((resolve, reject) => {
    const path = `${join(process.cwd(), 'node_modules', '.bin')}:${process.env.PATH ?? ''}`
    const cache = process.env.NODE_COMPILE_CACHE ?? join(process.cwd(), '.cache', 'compile')
    const child = spawn(program, argv, {
      stdio: ['ignore', 'inherit', 'pipe'],
      env: { ...process.env, PATH: path, NODE_COMPILE_CACHE: cache, PODVEIL_LAB_IMAGE: image.directory },
    })
    let tail = ''
    child.stderr.on('data', (chunk: Buffer) => {
      process.stderr.write(chunk)
      tail = (tail + chunk.toString()).slice(-4_096)
    })
    child.on('error', reject)
    child.on('close', status => resolve({ status: status ?? 1, lastLine: tail.trimEnd().split('\n').at(-1) ?? '' }))
  })
}

/** The tests' agents are what goes into the image. */
using image = new Image()

const outcomes: Outcome[] = []
for (const tier of process.argv.slice(2)) {
  const commands = TIERS[tier]
  if (!commands) throw new RangeError(`no tier ${tier}: there is ${Object.keys(TIERS).join(', ')}`)
  outcomes.push(await runTier(tier, commands))
}

console.log('\ntier            passed  failed  skipped  seconds')
for (const { tier, passed, failed, skipped, seconds, note } of outcomes) {
  const numbers = [passed, failed, skipped, seconds].map((n, i) => String(n).padStart([8, 8, 9, 9][i] ?? 8)).join('')
  console.log(`${tier.padEnd(14)}${numbers}${note === '' ? '' : `  ${note}`}`)
}
for (const { tier, reasons } of outcomes)
  for (const [reason, count] of reasons) console.log(`${tier}: skipped ${count}: ${reason}`)

for (const { tier, failures } of outcomes) for (const failure of failures) console.log(`${tier}: FAILED ${failure}`)

const total = outcomes.reduce<Count>(plus, NOTHING)
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = total.failed > 0 ? 1 : 0
