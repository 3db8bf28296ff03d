import { execFileSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem } from 'node:os'

/** What the figures were measured on. */
export interface Machine {
  readonly processor: string
  readonly processors: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly node: string
  readonly wireguard: string
  /** The VM of the kernel tier, whose processor is emulated unless it says KVM. */
  readonly vm: boolean
}

export const machine = (): Machine => ({
  processor: cpus()[0]?.model ?? 'unknown',
  processors: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
  wireguard: wireguardVersion(),
  vm: process.env.PODVEIL_VM_KERNEL !== undefined,
})

export const machineText = ({ processor, processors, memoryGiB, kernel, node, wireguard, vm }: Machine): string =>
  `${processors} × ${processor}, ${memoryGiB} GiB, Linux ${kernel}${vm ? ` (${processor === 'UML' ? 'user-mode Linux' : 'in the VM of the kernel tier'})` : ''}, Node.js ${node}, ${wireguard}`

function wireguardVersion(): string {
  if (process.env.PODVEIL_TIER === 'kernel') return 'the kernel’s WireGuard'
  try {
    return execFileSync('wireguard-go', ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? 'wireguard-go'
  } catch {
    return 'no wireguard-go'
  }
}

/** How busy the machine is: processes that run or wait for a processor, on average of the last minute. */
export const busyness = (): number => Number((loadavg()[0] ?? Number.NaN).toFixed(1))
