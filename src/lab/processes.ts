import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LabError } from './errors.ts'
import { waitUntil } from './wait.ts'

/** A process of the lab. The start time tells it from a later one that was given the same number. */
export interface ProcessRecord {
  readonly pid: number
  /** Clock ticks after boot: field 22 of /proc/PID/stat, proc_pid_stat(5). */
  readonly startTime: string
}

export interface SpawnOptions {
  /** The record of the process; removed when it has been ended. */
  readonly recordFile: string
  /** Standard output and error are appended here. */
  readonly logFile: string
  /** Standard output goes here instead, which is emptied first. */
  readonly stdoutFile?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Shared by all processes of all labs: each starts in a quarter of the time, which is most of it in an emulated VM. */
const COMPILE_CACHE = fileURLToPath(new URL('../../.cache/compile', import.meta.url))

/** What a process of the lab sees of its caller's environment: nothing that a test runner or a person's shell has set for itself. */
const INHERITED = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'] as const

const baseEnvironment = (): Record<string, string> =>
  Object.fromEntries(INHERITED.flatMap(name => (process.env[name] === undefined ? [] : [[name, process.env[name]]])))

/**
 * Starts a program that outlives this process, and writes down which one it is.
 * @throws LabError when it cannot be started
 */
export async function startDetached(argv: readonly string[], options: SpawnOptions): Promise<ProcessRecord> {
  mkdirSync(dirname(options.logFile), { recursive: true })
  mkdirSync(dirname(options.recordFile), { recursive: true })
  const log = openSync(options.logFile, 'a', 0o600)
  const out = options.stdoutFile === undefined ? log : openSync(options.stdoutFile, 'w', 0o600)
  try {
    const [file = '', ...args] = argv
    const child = spawn(file, args, {
      detached: true,
      stdio: ['ignore', out, log],
      env: { ...baseEnvironment(), NODE_COMPILE_CACHE: COMPILE_CACHE, ...options.env },
    })
    await once(child, 'spawn').catch((cause: Error) => {
      throw new LabError('ERR_LAB_PROCESS', `cannot start ${file}: ${cause.message}`, { cause })
    })
    child.unref()
    const startTime = child.pid === undefined ? undefined : startTimeOf(child.pid)
    if (child.pid === undefined || startTime === undefined)
      throw new LabError('ERR_LAB_PROCESS', `${file} ended at once; see ${options.logFile}`)
    const record = { pid: child.pid, startTime }
    writeFileSync(options.recordFile, JSON.stringify(record))
    return record
  } finally {
    closeSync(log)
    if (out !== log) closeSync(out)
  }
}

/** The recorded process, when it is still the one that was started and runs. */
export function liveProcess(recordFile: string): ProcessRecord | undefined {
  const record = readRecord(recordFile)
  return record && startTimeOf(record.pid) === record.startTime ? record : undefined
}

/**
 * Sends a signal to the recorded process and waits until it has ended. None that runs is fine; the record goes with it.
 * @param graceMs how long it may take after the signal before SIGKILL follows
 */
export async function stopProcess(
  recordFile: string,
  signal: NodeJS.Signals = 'SIGTERM',
  graceMs = 5_000,
): Promise<void> {
  const record = liveProcess(recordFile)
  if (record) {
    kill(record.pid, signal)
    const ended = () => startTimeOf(record.pid) !== record.startTime
    await waitUntil(ended, graceMs, 'the process to end').catch(async () => {
      kill(record.pid, 'SIGKILL')
      await waitUntil(ended, 5_000, `process ${record.pid} to end after SIGKILL`)
    })
  }
  rmSync(recordFile, { force: true })
}

/** Ends processes that are known to be the lab's by where they run, and waits for that. */
export async function killAll(pids: readonly number[]): Promise<void> {
  const running = pids.flatMap(pid => {
    const startTime = startTimeOf(pid)
    return startTime === undefined ? [] : [{ pid, startTime }]
  })
  for (const { pid } of running) kill(pid, 'SIGKILL')
  await waitUntil(
    () => running.every(({ pid, startTime }) => startTimeOf(pid) !== startTime),
    10_000,
    `processes ${pids.join(', ')} to end after SIGKILL`,
  )
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    // It has ended by itself.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function readRecord(file: string): ProcessRecord | undefined {
  try {
    const record: unknown = JSON.parse(readFileSync(file, 'utf8'))
    const { pid, startTime } = (record ?? {}) as Partial<ProcessRecord>
    return Number.isInteger(pid) && pid !== undefined && pid > 1 && typeof startTime === 'string'
      ? { pid, startTime }
      : undefined
  } catch {
    return undefined
  }
}

function startTimeOf(pid: number): string | undefined {
  try {
    return startTimeIn(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return undefined
  }
}

/**
 * When a process was started, which is undefined when it is no more than what its parent has not collected yet. A killed
 * process is a zombie as soon as its first thread is; while others are on their way out its ports are still taken.
 * @param stat proc_pid_stat(5)
 */
export function startTimeIn(stat: string): string | undefined {
  // The program's name, in parentheses, may contain spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, threads] = [fields[0], Number(fields[17])]
  return state === 'X' || (state === 'Z' && threads <= 1) ? undefined : fields[19]
}
