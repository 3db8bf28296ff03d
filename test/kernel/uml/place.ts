import { join } from 'node:path'
import { kernelCache } from '../kernels.ts'

/** Where the program is that is a Linux kernel. */
export const program = (): string => join(kernelCache(), 'uml', 'linux')
