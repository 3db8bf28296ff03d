// run [options] [--] COMMAND [ARGUMENT...]: runs a command as root on another kernel, in a throw-away VM, in the current directory.
// Its output comes as it is written, and its status is returned. Nothing that it writes stays.
import { accessSync, constants, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { runTool, Skip } from '../tools/skip.ts'
import { fetchedKernel, KERNELS, kernelCache } from './kernels.ts'
import { boot, type Machine, needPrograms, type Outcome, quote, removeLeftovers } from './vm.ts'

const USAGE = `run [options] [--] COMMAND [ARGUMENT...]
  --kernel NAME     one of ${KERNELS.map(({ name }) => name).join(', ')} (${KERNELS[0]?.name})
  --timeout SECONDS for the command (900)
  --memory MiB      of the guest (1536)
  --accel KIND      kvm, tcg or auto (auto; PODVEIL_VM_ACCEL)
  --env NAME        passes a further variable; PODVEIL_*, CI, NODE_ENV, FORCE_COLOR and NO_COLOR are passed anyway
  --steady          the guest's clock goes by its instructions: on a busy machine nothing in it is timed out
  --append TEXT     further kernel arguments
  --collect DIR     unpacks into DIR what the command leaves in $PODVEIL_VM_OUT
  --quiet           does not say which kernel and accelerator, nor how long it took
Status: the command's; 77 when this machine cannot run it, with the reason; 124 when it took too long; 125 when the VM failed.`

const PASSED = /^(PODVEIL_\w+|CI|NODE_ENV|FORCE_COLOR|NO_COLOR)$/
const TIMED_OUT = 124
const VM_FAILED = 125
// A boot takes 5 s on a quiet machine under emulation, and several times that on a busy one.
const BOOT_LIMIT_MS = 120_000
const KVM_BOOT_LIMIT_MS = 20_000
const BOOTS = 3

await runTool('kernel run', async args => {
  const { values, positionals } = parseArgs({
    args: splitAtCommand(args),
    allowPositionals: true,
    options: {
      kernel: { type: 'string', default: KERNELS[0]?.name ?? '' },
      timeout: { type: 'string', default: '900' },
      memory: { type: 'string', default: '1536' },
      accel: { type: 'string', default: process.env.PODVEIL_VM_ACCEL ?? 'auto' },
      env: { type: 'string', multiple: true, default: [] },
      steady: { type: 'boolean', default: false },
      append: { type: 'string', default: '' },
      collect: { type: 'string' },
      quiet: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help || positionals.length === 0) {
    console.error(USAGE)
    return values.help ? 0 : VM_FAILED
  }

  const programs = needPrograms()
  if (process.getuid?.() !== 0) throw new Skip('sharing the root directory with the VM takes root')
  const kernel = fetchedKernel(values.kernel)
  if (kernel === undefined)
    throw new Skip(`kernel ${values.kernel} is not in ${kernelCache()}: test/kernel/fetch ${values.kernel}`)
  const { accelerator, why } = chooseAccelerator(values.accel)
  const say = (text: string): void => (values.quiet ? undefined : console.error(`kernel run: ${text}`))
  say(`${kernel.release} under ${accelerator} (${why})`)

  const abort = new AbortController()
  const machine: Machine = {
    kernel,
    accelerator,
    memoryMiB: positive('--memory', values.memory),
    kernelArguments: values.append,
    steady: values.steady,
    command: commandScript(positionals, kernel.release, values.env),
    paths: [process.cwd(), import.meta.dirname, kernelCache(), process.execPath],
    bootLimitMs: accelerator === 'kvm' ? KVM_BOOT_LIMIT_MS : BOOT_LIMIT_MS,
    runLimitMs: positive('--timeout', values.timeout) * 1000,
    stdout: process.stdout,
    stderr: process.stderr,
    collect: values.collect,
    signal: abort.signal,
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => abort.abort(signal))
  removeLeftovers()
  const outcome = await bootUntilStarted(machine, programs, say)
  if (abort.signal.aborted) return abort.signal.reason === 'SIGINT' ? 130 : 143
  return report(outcome, values.timeout, say)
})

/** A machine that dies before the command has started is started again: nothing was done twice. */
async function bootUntilStarted(
  first: Machine,
  programs: ReturnType<typeof needPrograms>,
  say: (text: string) => void,
): Promise<Outcome> {
  let machine = first
  for (let attempt = 1; ; attempt += 1) {
    const outcome = await boot(machine, programs)
    if (outcome.kind !== 'died' || outcome.started || attempt >= BOOTS || machine.signal.aborted) return outcome
    console.error(`kernel run: the VM did not come up; once more\n${outcome.log}`)
    if (machine.accelerator === 'kvm') {
      say('KVM cannot boot this kernel here; falling back to tcg')
      machine = { ...machine, accelerator: 'tcg', bootLimitMs: BOOT_LIMIT_MS }
    }
  }
}

function report(outcome: Outcome, timeout: string, say: (text: string) => void): number {
  switch (outcome.kind) {
    case 'ended':
      say(`booted in ${seconds(outcome.bootMs)}, ran for ${seconds(outcome.runMs)}, status ${outcome.status}`)
      return outcome.status
    case 'timeout':
      console.error(`kernel run: stopped after ${timeout} s\n${outcome.log}`)
      return TIMED_OUT
    case 'died':
      console.error(`kernel run: the VM ended without a status\n${outcome.log}`)
      return VM_FAILED
  }
}

function chooseAccelerator(wanted: string): { accelerator: 'kvm' | 'tcg'; why: string } {
  if (wanted === 'kvm' || wanted === 'tcg') return { accelerator: wanted, why: 'as asked for' }
  if (wanted !== 'auto') throw new Error(`--accel ${wanted}: kvm, tcg or auto`)
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
  } catch {
    return { accelerator: 'tcg', why: 'no access to /dev/kvm' }
  }
  // There are /dev/kvm without hardware behind them, which run only kernels that were made for them.
  if (!/^flags\s*:.*\b(svm|vmx)\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'))) {
    return { accelerator: 'tcg', why: '/dev/kvm is there, but the processor has neither svm nor vmx' }
  }
  return { accelerator: 'kvm', why: 'the processor has hardware virtualisation' }
}

/** The environment is short on purpose: some variables (extra certificates for one) cost each node a second under emulation. */
function commandScript(command: readonly string[], release: string, names: readonly string[]): string {
  const passed = Object.entries(process.env).filter(([name]) => PASSED.test(name) || names.includes(name))
  const exports = [...passed, ['PODVEIL_TIER', 'kernel'], ['PODVEIL_VM_KERNEL', release]]
  return [
    ...exports.map(([name, value]) => `export ${name}=${quote(value ?? '')}`),
    // `node` in the guest is the one that runs this, whatever the machine has.
    `export PATH=${quote(dirname(process.execPath))}:$PATH`,
    `cd ${quote(process.cwd())} || exit ${VM_FAILED}`,
    `exec ${command.map(quote).join(' ')}`,
    '',
  ].join('\n')
}

/** Everything from the first argument that is no option on belongs to the command, also where it looks like an option. */
function splitAtCommand(args: readonly string[]): string[] {
  const flags = new Set(['--steady', '--quiet', '--help'])
  let at = 0
  while (at < args.length && args[at]?.startsWith('--') && args[at] !== '--') {
    at += flags.has(args[at] ?? '') || args[at]?.includes('=') ? 1 : 2
  }
  const command = args[at] === '--' ? args.slice(at + 1) : args.slice(at)
  return [...args.slice(0, at), '--', ...command]
}

function positive(option: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value <= 0) throw new Error(`${option} ${text}: a whole number above 0`)
  return value
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
