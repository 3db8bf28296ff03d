// every-case [options] [FILTER...]: the files of the kernel tier's cases whose paths hold one of the filters, or all of them, each on a
// kernel of its own, so that one that hangs costs its own cases alone. A table at the end says what each file came to.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { Image } from '../tools/image.ts'
import { runTool, SKIPPED, Skip } from '../tools/skip.ts'
import { countReport, merged, ofBrokenFile, type Report } from '../tools/vitest-report.ts'
import { KERNELS } from './kernels.ts'
import { isUmlKernel, UML_KERNELS, umlSource } from './uml/place.ts'

/** Before the name of a kernel that is a process. */
const UML = 'uml-'
const USAGE = `every-case [options] [FILTER...]
  --kernel NAME     ${[...KERNELS.map(({ name }) => name), ...UML_KERNELS.map(name => UML + name)].join(', ')} (${KERNELS[0]?.name})
  --timeout SECONDS for each file (3600)
  --memory MiB      of each kernel's (4096)
  --report FILE     has vitest's report of all files
PODVEIL_LONG=1 has the lab's files among them.
Status: 77 when this machine cannot run it, with the reason; 1 when a file failed.`

const VITEST = [process.execPath, join('node_modules', 'vitest', 'vitest.mjs')]
const REPORT = 'report.json'

interface Options {
  readonly kernel: string
  readonly timeout: string
  readonly memory: string
}

interface Outcome {
  readonly file: string
  readonly report: Report
  readonly seconds: number
}

await runTool('every-case', async args => {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      kernel: { type: 'string', default: KERNELS[0]?.name ?? '' },
      timeout: { type: 'string', default: '3600' },
      memory: { type: 'string', default: '4096' },
      report: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.error(USAGE)
    return 0
  }
  // The tests' agents are what goes into the image: their sources would cost each process seconds.
  using image = process.env.PODVEIL_LAB_IMAGE === undefined ? new Image() : undefined
  if (image) process.env.PODVEIL_LAB_IMAGE = image.directory

  const outcomes: Outcome[] = []
  for (const file of files(positionals)) {
    console.log(`=== ${file}`)
    const began = Date.now()
    const report = await runFile(file, values)
    outcomes.push({ file, report, seconds: Math.round((Date.now() - began) / 1000) })
  }
  const all = merged(outcomes.map(({ report }) => report))
  if (values.report !== undefined) writeFileSync(values.report, JSON.stringify(all))
  console.log(table(outcomes))
  const { failed, failures } = countReport(all)
  for (const failure of failures) console.error(`every-case: FAILED ${failure}`)
  return failed > 0 ? 1 : 0
})

/** @returns paths from the project's root */
function files(filters: readonly string[]): string[] {
  const [node = '', ...vitest] = VITEST
  const argv = [...vitest, 'list', '--filesOnly', '--json', '--project', 'kernel', ...filters]
  const { status, stdout, stderr } = spawnSync(node, argv, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`vitest list: ${stderr}`)
  const found = JSON.parse(stdout) as readonly { readonly file: string }[]
  if (found.length === 0) throw new Error(`no file of the kernel tier is ${filters.join(' or ')}`)
  return found.map(({ file }) => relative(process.cwd(), file))
}

/** @throws Skip where this machine has no such kernel */
async function runFile(file: string, { kernel, timeout, memory }: Options): Promise<Report> {
  const collected = mkdtempSync(join(tmpdir(), 'podveil-case-'))
  try {
    const { status, lastLine } = await run([
      ...machine(kernel),
      ...['--timeout', timeout, '--memory', memory, '--collect', collected, '--', 'sh', '-c'],
      `NODE_COMPILE_CACHE="$PWD/.cache/compile" exec "$@" --outputFile.json="$PODVEIL_VM_OUT/${REPORT}"`,
      ...['sh', ...VITEST, 'run', '--project', 'kernel', '--reporter=default', '--reporter=json', file],
    ])
    if (status === SKIPPED) throw new Skip(lastLine)
    return reportIn(collected) ?? ofBrokenFile(file, `no report, and status ${status}: ${lastLine}`)
  } finally {
    rmSync(collected, { recursive: true, force: true })
  }
}

/** Whose clock a busy machine does not disturb, where there is one. */
function machine(kernel: string): readonly string[] {
  if (!kernel.startsWith(UML)) return ['test/kernel/run', '--steady', '--kernel', kernel]
  const name = kernel.slice(UML.length)
  const steady = isUmlKernel(name) && umlSource(name).steady
  return ['test/kernel/uml/run', '--kernel', name, ...(steady ? ['--steady'] : [])]
}

/** Runs a program that is told to end when this process dies, however it dies. @returns the last line of standard error as well */
async function run(argv: readonly string[]): Promise<{ readonly status: number | null; readonly lastLine: string }> {
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', '--', ...argv], { stdio: ['ignore', 'inherit', 'pipe'] })
  let lastLine = ''
  createInterface({ input: child.stderr }).on('line', line => {
    console.error(line)
    if (line.trim() !== '') lastLine = line
  })
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, lastLine }
}

function reportIn(directory: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, REPORT), 'utf8')) as Report
  } catch {
    return undefined
  }
}

function table(outcomes: readonly Outcome[]): string {
  const lines = outcomes.map(({ file, report, seconds }) => {
    const { passed, failed, skipped } = countReport(report)
    return [...[passed, failed, skipped, seconds].map(number => String(number).padStart(7)), `  ${file}`].join(' ')
  })
  return ['', ' passed  failed skipped seconds   file', ...lines].join('\n')
}
