import { type ChildProcess, spawn } from 'node:child_process'
import { access, constants, lstat, mkdir, rm } from 'node:fs/promises'
import { constants as osConstants, setPriority } from 'node:os'
import { delimiter, isAbsolute, join } from 'node:path'
import { DeviceError } from '../device/device.ts'
import { UAPI_DIRECTORY, UapiClient } from './client.ts'
import { waitUntil } from './wait.ts'

export interface UserspaceProcessOptions {
  /** Name or absolute path of the program; PODVEIL_WIREGUARD_GO, else `wireguard-go`. */
  readonly binary?: string | undefined
  /**
   * What the program is started through, `nsenter --target 1 --mount --` for one. A process of its own session outlives the
   * agent, but not the container that both are in.
   */
  readonly prefix?: readonly string[]
  /** Directory of the sockets; the program must use the same. */
  readonly directory?: string
  /** Milliseconds until the device must be there, or gone. */
  readonly timeout?: number
}

const DEFAULT_BINARY = 'wireguard-go'
const TUN = '/dev/net/tun'
const TIMEOUT = 10_000
/** Of what the program says when it fails. */
const MAX_REPORT = 4_096

/**
 * Processes that serve a device each, wireguard-go or any program of its manners: `PROGRAM NAME` makes the device, puts
 * itself into the background and serves the protocol on NAME.sock until the device is deleted. They outlive their parent.
 */
export class UserspaceProcesses {
  readonly #binary: string
  readonly #prefix: readonly string[]
  readonly #directory: string
  readonly #timeout: number
  readonly #client: UapiClient

  constructor(options: UserspaceProcessOptions = {}) {
    this.#binary = options.binary ?? process.env.PODVEIL_WIREGUARD_GO ?? DEFAULT_BINARY
    this.#prefix = options.prefix ?? []
    this.#directory = options.directory ?? UAPI_DIRECTORY
    this.#timeout = options.timeout ?? TIMEOUT
    this.#client = new UapiClient({ directory: this.#directory })
  }

  /** @returns why no process can be started on this machine, and what to do about it; undefined when one can */
  async missing(): Promise<string | undefined> {
    if (!(await findProgram(this.#binary)))
      return (
        `${this.#binary} is not installed: install the package wireguard-go (Debian, Ubuntu, Alpine and Arch have it), ` +
        'or name another implementation in PODVEIL_WIREGUARD_GO'
      )
    if (!(await accessible(TUN, constants.R_OK | constants.W_OK)))
      return `${TUN} is missing or closed: run "modprobe tun" on the host, and in a container mount ${TUN} and allow it`
    return undefined
  }

  /** @throws UapiError for anything but "nobody is there", UapiFormatError */
  async isRunning(name: string): Promise<boolean> {
    return (await this.#client.get(name)) !== undefined
  }

  /**
   * Starts a process where none is running for this device, and waits until it answers.
   * @throws DeviceError
   */
  async start(name: string): Promise<void> {
    const missing = await this.missing()
    if (missing !== undefined) throw new DeviceError('unsupported', name, missing)
    await this.#makeDirectory(name)
    await this.removeStaleSocket(name)
    const { status, report } = await this.#launch(name)
    if (status !== 0) throw startError(name, this.#binary, status, report)
    if (!(await waitUntil(() => this.isRunning(name), this.#timeout)))
      throw new DeviceError('refused', name, `${this.#binary} started, but does not answer on ${this.#directory}`)
  }

  /** Waits until the process, whose device is gone, is gone as well. @returns false when it stays */
  async waitForExit(name: string): Promise<boolean> {
    if (!(await waitUntil(async () => !(await this.isRunning(name)), this.#timeout))) return false
    await this.removeStaleSocket(name)
    return true
  }

  /** A socket that nobody listens on; one of a process is left alone, and so is anything that is no socket. */
  async removeStaleSocket(name: string): Promise<void> {
    const path = this.#client.socketPath(name)
    const stats = await lstat(path).catch(() => undefined)
    if (stats?.isSocket() && !(await this.isRunning(name))) await rm(path, { force: true })
  }

  /** @throws DeviceError */
  async #makeDirectory(name: string): Promise<void> {
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o755 })
      await access(this.#directory, constants.W_OK)
    } catch (cause) {
      const why = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
      throw new DeviceError(
        'unsupported',
        name,
        `no socket can be made in ${this.#directory} (${why}): in a container, mount the host's directory there, so that the next agent finds the process as well`,
        { cause },
      )
    }
  }

  async #launch(name: string): Promise<{ status: number | string; report: string }> {
    const [program, ...args] = [...this.#prefix, this.#binary, name]
    const child = spawn(program, args, {
      cwd: '/',
      // A session of its own, so that no signal meant for the agent's reaches it.
      detached: true,
      // Without LOG_LEVEL, wireguard-go's background process has all of its stdio on /dev/null, and these pipes are the
      // starting one's alone.
      stdio: ['ignore', 'pipe', 'pipe'],
      // Nothing of the agent's environment is its business. Version 2018 and older want to be told twice.
      env: { PATH: process.env.PATH ?? '', WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD: '1' },
    })
    const report = collect(child)
    const timer = setTimeout(() => killGroup(child), this.#timeout)
    prefer(child)
    try {
      const status = await exitStatus(child)
      return { status, report: status === 0 ? '' : await report }
    } finally {
      clearTimeout(timer)
      child.stdout?.destroy()
      child.stderr?.destroy()
      child.unref()
    }
  }
}

/** Its socket holds some 200 packets: what carries all of a node's traffic must not wait behind a compiler for long. */
function prefer({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) setPriority(pid, osConstants.priority.PRIORITY_HIGH)
  } catch {
    // Without CAP_SYS_NICE it is as important as everything else.
  }
}

/** @returns the exit status, the signal's name, or why it could not be started */
function exitStatus(child: ChildProcess): Promise<number | string> {
  const { promise, resolve } = Promise.withResolvers<number | string>()
  child.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown error'))
  child.on('exit', (code, signal) => resolve(code ?? signal ?? 'unknown signal'))
  return promise
}

/** The child leads a group of its own; what it went through or has started is in there. */
function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // It has just ended by itself.
  }
}

/** wireguard-go writes its errors to the one and its advice to the other. */
function collect(child: ChildProcess): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      text = (text + chunk.toString('utf8')).slice(-MAX_REPORT)
    })
  child.on('close', () => resolve(text))
  child.on('error', () => resolve(text))
  return promise
}

function startError(name: string, binary: string, status: number | string, report: string): DeviceError {
  const lines = report.split(/[\r\n]+/)
  const errors = lines.filter(line => /^error|fail|unable|cannot|denied|not permitted/i.test(line))
  const words = (errors.at(-1) ?? '').replace(/[^\x20-\x7e]+/g, ' ').trim()
  const said = words === '' ? `ended with ${status}` : words
  if (/not permitted|permission denied|EACCES|EPERM/i.test(`${said} ${status}`))
    return new DeviceError('not-permitted', name, `${binary}: ${said}: it needs CAP_NET_ADMIN and access to ${TUN}`)
  if (/does not exist|no such (file|device)/i.test(said))
    return new DeviceError('unsupported', name, `${binary}: ${said}: run "modprobe tun" on the host`)
  return new DeviceError('refused', name, `${binary} could not make the device: ${said}`)
}

async function findProgram(binary: string): Promise<string | undefined> {
  const candidates = isAbsolute(binary)
    ? [binary]
    : (process.env.PATH ?? '').split(delimiter).map(directory => join(directory, binary))
  for (const candidate of candidates) if (await accessible(candidate, constants.X_OK)) return candidate
  return undefined
}

const accessible = (path: string, mode: number): Promise<boolean> =>
  access(path, mode).then(
    () => true,
    () => false,
  )
