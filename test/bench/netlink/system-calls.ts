import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What a step asked of the kernel. Receiving counts empty-handed calls too. */
export interface Calls {
  readonly sends: number
  readonly receives: number
  readonly all: number
}

const UNKNOWN: Calls = { sends: Number.NaN, receives: Number.NaN, all: Number.NaN }
const ATTACH_LIMIT_MS = 30_000

let found: boolean | undefined

/** Counting takes strace, and the right to trace. */
export function canCount(): boolean {
  found ??= works()
  return found
}

function works(): boolean {
  try {
    execFileSync('strace', ['-c', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** The system calls of this process, all of its threads, during the step. NaN where they cannot be counted. */
export async function ownCalls(step: () => unknown): Promise<Calls> {
  if (!canCount()) {
    await step()
    return UNKNOWN
  }
  return await inScratch(async file => {
    const tracer = spawn('strace', ['-f', '-c', '-o', file, '-p', String(process.pid)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const ended = once(tracer, 'exit')
    // Who may trace what it starts may not always trace what started it.
    const traced = await Promise.race([attached(tracer), ended.then(() => false)])
    try {
      await step()
    } finally {
      tracer.kill('SIGINT')
      await ended
    }
    return traced ? parse(readFileSync(file, 'utf8')) : UNKNOWN
  })
}

/** Those of a program. @param run runs the arguments that it is given in front of the program's own */
export async function callsOf(run: (prefix: readonly string[]) => unknown): Promise<Calls> {
  if (!canCount()) {
    run([])
    return UNKNOWN
  }
  return await inScratch(async file => {
    run(['strace', '-f', '-c', '-o', file])
    return parse(readFileSync(file, 'utf8'))
  })
}

async function inScratch(use: (file: string) => Promise<Calls>): Promise<Calls> {
  const directory = mkdtempSync(join(tmpdir(), 'podveil-bench.'))
  try {
    return await use(join(directory, 'calls'))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Whether it says in time that it has attached itself. */
async function attached(tracer: ChildProcess): Promise<boolean> {
  const signal = AbortSignal.timeout(ATTACH_LIMIT_MS)
  try {
    for (;;)
      if (tracer.stderr && String(await once(tracer.stderr, 'data', { signal })).includes('attached')) return true
  } catch {
    return false
  }
}

/** Lines of `strace -c`: share, seconds, microseconds a call, calls, errors if any, name. */
export function parse(text: string): Calls {
  const counts = text.split('\n').flatMap(line => {
    const match = /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$/.exec(line)
    return match && match[2] !== 'total' ? [{ name: match[2] ?? '', calls: Number(match[1]) }] : []
  })
  const sum = (matching: (name: string) => boolean): number =>
    counts.filter(({ name }) => matching(name)).reduce((total, { calls }) => total + calls, 0)
  return {
    sends: sum(name => name.startsWith('send')),
    receives: sum(name => name.startsWith('recv')),
    all: sum(() => true),
  }
}
