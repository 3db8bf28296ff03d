// run [options] [--] COMMAND [ARGUMENT...]: runs a command as root in the current directory, on a Linux kernel that is a process of
// this machine, of test/kernel/uml/build. Its code is run by this machine's processor, so programs are several times faster than
// where QEMU emulates one. Output comes as it is written, the status is returned, and nothing that it writes stays.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { setInterval } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { needProgram } from '../../tools/programs.ts'
import { runTool, Skip } from '../../tools/skip.ts'
import { quote } from '../vm.ts'
import { isUmlKernel, program, UML_KERNELS, umlSource } from './place.ts'

const USAGE = `run [options] [--] COMMAND [ARGUMENT...]
  --kernel NAME     ${UML_KERNELS.join(' or ')} (${UML_KERNELS[0]})
  --timeout SECONDS for all of it (900)
  --memory MiB      of the kernel's (4096), in /dev/shm
  --collect DIR     gets what the command leaves in $PODVEIL_VM_OUT
  --steady          work takes no time and waiting is skipped, by the guest's clock, however busy this machine is (6.12)
Variables PODVEIL_*, CI, NODE_* and FORCE_COLOR are passed.
Status: the command's; 77 when this machine cannot run it, with the reason; 124 when it took too long; 125 when the kernel failed.`

const PASSED = /^(PODVEIL_\w+|CI|NODE_\w+|FORCE_COLOR)$/
const TIMED_OUT = 124
/** Documentation/virt/uml/user_mode_linux_howto_v2.rst: the clock goes on when there is nothing left to do, to the next timer. */
const CLOCK_OF_EVENTS = ['time-travel=inf-cpu']
const KERNEL_FAILED = 125
const CHUNK = 1 << 16

await runTool('uml run', async args => {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      kernel: { type: 'string', default: UML_KERNELS[0] ?? '' },
      timeout: { type: 'string', default: '900' },
      memory: { type: 'string', default: '4096' },
      collect: { type: 'string' },
      steady: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const { kernel } = values
  const [timeout, memory] = [Number(values.timeout), Number(values.memory)]
  if (values.help || positionals.length === 0 || !isUmlKernel(kernel) || !(timeout > 0) || !(memory > 0)) {
    console.error(USAGE)
    return values.help ? 0 : KERNEL_FAILED
  }
  if (process.getuid?.() !== 0) throw new Skip('reading all of this machine’s files takes root')
  if (!existsSync(program(kernel))) throw new Skip(`there is no ${program(kernel)}: test/kernel/uml/build ${kernel}`)
  needProgram('busybox-static', 'busybox')
  if (values.steady && !umlSource(kernel).steady) throw new Error(`--steady is not for ${kernel}`)

  const box = mkdtempSync(join(tmpdir(), 'podveil-uml-'))
  try {
    writeFileSync(
      join(box, 'command'),
      script(positionals, values.steady ? { PODVEIL_CLOCK: 'events', PODVEIL_LAB_POLL_MS: '250' } : {}),
    )
    for (const name of ['out', 'err']) writeFileSync(join(box, name), '')
    mkdirSync(join(box, 'files'))
    const ended = await runKernel(program(kernel), box, timeout, [
      `mem=${memory}M`,
      ...(values.steady ? CLOCK_OF_EVENTS : []),
    ])
    if (values.collect !== undefined) cpSync(join(box, 'files'), values.collect, { recursive: true })
    if (ended === 'timeout') {
      console.error(`uml run: stopped after ${timeout} s`)
      return TIMED_OUT
    }
    const status = join(box, 'status')
    if (existsSync(status)) return Number(readFileSync(status, 'utf8'))
    console.error(`uml run: the kernel ended before the command had:\n${tail(join(box, 'console'))}`)
    return KERNEL_FAILED
  } finally {
    rmSync(box, { recursive: true, force: true })
  }
})

function script(argv: readonly string[], more: Readonly<Record<string, string>>): string {
  const env = Object.entries({ ...more, ...process.env }).filter(([name]) => PASSED.test(name))
  return [
    ...env.map(([name, value]) => `export ${name}=${quote(value ?? '')}`),
    'export PODVEIL_TIER=kernel PODVEIL_VM_KERNEL="$(uname -r)" PODVEIL_VM_OUT=/run/box/files',
    `cd ${quote(process.cwd())} || exit`,
    `exec ${argv.map(quote).join(' ')}`,
  ].join('\n')
}

/** @param parameters of the kernel */
async function runKernel(
  image: string,
  box: string,
  timeout: number,
  parameters: readonly string[],
): Promise<'ended' | 'timeout'> {
  const console = openSync(join(box, 'console'), 'a')
  const kernel = spawn(
    image,
    [
      // With two processors it stalls for good now and then, with every task asleep.
      ...['ncpus=1', 'seccomp=auto', 'quiet', 'panic=-1', 'con=null', 'con0=null,fd:1', ...parameters],
      ...['root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${join(import.meta.dirname, 'init')}`],
      `PODVEIL_BOX=${box}`,
    ],
    // A group of its own: the processes of its processes are ended with it.
    { stdio: ['ignore', console, console], env: { ...process.env, TMPDIR: '/dev/shm' }, detached: true },
  )
  closeSync(console)
  const end = () => kernel.pid !== undefined && kernel.exitCode === null && process.kill(-kernel.pid, 'SIGKILL')
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, end)
  const abort = new AbortController()
  const followed = Promise.all([
    follow(join(box, 'out'), process.stdout, abort.signal),
    follow(join(box, 'err'), process.stderr, abort.signal),
  ])
  let timedOut = false
  const timer = setTimeout(() => {
    timedOut = true
    end()
  }, timeout * 1_000)
  await once(kernel, 'close')
  clearTimeout(timer)
  abort.abort()
  await followed
  return timedOut ? 'timeout' : 'ended'
}

/** Passes on what is written to a file, until the signal, and then what is left. */
async function follow(file: string, to: Writable, signal: AbortSignal): Promise<void> {
  const from = openSync(file, 'r')
  const chunk = Buffer.alloc(CHUNK)
  const pass = () => {
    for (let size = readSync(from, chunk); size > 0; size = readSync(from, chunk))
      to.write(chunk.toString('utf8', 0, size))
  }
  try {
    for await (const _ of setInterval(200, undefined, { signal })) pass()
  } catch {
    pass()
  } finally {
    closeSync(from)
  }
}

function tail(file: string): string {
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-15).join('\n')
}
