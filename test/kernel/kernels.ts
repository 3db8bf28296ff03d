// The kernels that the suite runs on, and where they are kept. They are unpacked into a cache, never installed: this machine's own
// /boot, /lib/modules and initramfs hooks stay as they are.
import { readdirSync, readlinkSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export interface KernelChoice {
  readonly name: string
  /** What it shows that the others do not. */
  readonly why: string
  /** Packages to follow, best first; the first whose version begins with `series` is taken. */
  readonly packages: readonly string[]
  readonly series: RegExp
  /** Debian suites to look in when the machine's own lists do not have it. */
  readonly otherSuites: readonly string[]
  /** A kernel that may vanish from the archive at any time does not fail a run when it is missing. */
  readonly optional: boolean
}

// The cloud flavour is the small one: it has WireGuard, veth, nftables and virtio, and few of the drivers for hardware.
export const KERNELS: readonly KernelChoice[] = [
  {
    name: '6.12',
    why: 'what current distributions ship; allowed IPs are removed through a throw-away peer',
    packages: ['linux-image-6.12-cloud-amd64', 'linux-image-cloud-amd64'],
    series: /^6\.12\./,
    otherSuites: ['trixie'],
    optional: false,
  },
  {
    name: '6.1',
    why: 'the oldest long-term kernel that is shown to work',
    packages: ['linux-image-6.1-cloud-amd64', 'linux-image-cloud-amd64'],
    series: /^6\.1\./,
    otherSuites: ['bookworm'],
    optional: false,
  },
  {
    name: 'newest',
    why: 'has the remove flag for allowed IPs (6.16 and later)',
    packages: ['linux-image-cloud-amd64'],
    series: /^(6\.(1[6-9]|[2-9]\d)|[7-9]|\d\d)\b/,
    otherSuites: ['sid'],
    optional: true,
  },
]

export interface FetchedKernel {
  readonly name: string
  /** As `uname -r` says it. */
  readonly release: string
  /** An uncompressed ELF image. */
  readonly image: string
  /** The folder that holds `RELEASE/modules.dep`: what /lib/modules is in the guest. */
  readonly modules: string
}

export function kernelCache(): string {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  return process.env.PODVEIL_KERNEL_CACHE || join(cache, 'podveil', 'kernels')
}

/** What `fetch` left for that name, if it did. */
export function fetchedKernel(name: string): FetchedKernel | undefined {
  // `current` is a link that is set last, so it never leads to half a kernel.
  const current = join(kernelCache(), name, 'current')
  try {
    const home = join(kernelCache(), name, readlinkSync(current))
    const modules = join(home, 'modules')
    const [release] = readdirSync(modules)
    return release === undefined ? undefined : { name, release, image: join(home, 'vmlinux'), modules }
  } catch {
    return undefined
  }
}
