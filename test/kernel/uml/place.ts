import { join } from 'node:path'
import { kernelCache } from '../kernels.ts'

interface UmlSource {
  /** Debian's, that has the source. */
  readonly suite: string
  /** Its clock can go by events (CONFIG_UML_TIME_TRAVEL_SUPPORT, which several processors exclude). */
  readonly steady: boolean
}

/** Kernels that are made into programs. */
const SOURCES = {
  /** What current distributions ship. Its processes are traced, each system call: half as fast as what has seccomp (6.19 and later). */
  '6.12': { suite: 'trixie', steady: true },
  newest: { suite: 'sid', steady: false },
} as const satisfies Record<string, UmlSource>

export type UmlKernel = keyof typeof SOURCES

export const UML_KERNELS = Object.keys(SOURCES) as readonly UmlKernel[]

export const isUmlKernel = (name: string): name is UmlKernel => name in SOURCES

export const umlSource = (kernel: UmlKernel): UmlSource => SOURCES[kernel]

/** Where the program is that is a Linux kernel. */
export const program = (kernel: UmlKernel): string => join(kernelCache(), 'uml', kernel, 'linux')
