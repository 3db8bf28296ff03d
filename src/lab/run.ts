import { spawn } from 'node:child_process'
import { LabError } from './errors.ts'

export interface RunResult {
  /** Exit status; 128 + n when signal n ended it. */
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** Written to the program's standard input, which is then closed. */
  readonly input?: string
  /** Ends the program with SIGKILL after so many milliseconds. Default 60,000. */
  readonly timeoutMs?: number
}

/** Signals that end a program from outside, in the numbering of a shell's exit status. */
const SIGNAL_STATUS: Partial<Record<NodeJS.Signals, number>> = { SIGHUP: 129, SIGINT: 130, SIGKILL: 137, SIGTERM: 143 }

export const statusOf = (code: number | null, signal: NodeJS.Signals | null): number =>
  code ?? (signal ? (SIGNAL_STATUS[signal] ?? 128) : 128)

/**
 * Runs a program to its end and gives what it printed, whatever its status.
 * @throws LabError when it cannot be started
 */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [file = '', ...args] = argv
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: options.timeoutMs ?? 60_000,
      killSignal: 'SIGKILL',
    })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
    // A program that ends without reading its input is judged by its status, not by the broken pipe.
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
    child.on('error', cause =>
      reject(new LabError('ERR_LAB_COMMAND', `cannot run ${file}: ${cause.message}`, { cause })),
    )
    child.on('close', (code, signal) =>
      resolve({
        status: statusOf(code, signal),
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      }),
    )
  })
}

/**
 * Runs a program that must succeed.
 * @returns what it printed on standard output
 * @throws LabError with the command and the first line of what it said
 */
export async function must(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(argv, options)
  if (result.status === 0) return result.stdout
  const said = firstLine(result.stderr) || firstLine(result.stdout) || 'nothing was printed'
  throw new LabError('ERR_LAB_COMMAND', `\`${argv.join(' ')}\` ended with ${result.status}: ${said}`)
}

const firstLine = (text: string): string => text.trim().split('\n', 1)[0] ?? ''
