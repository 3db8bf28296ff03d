import { execFileSync } from 'node:child_process'
import { describe } from 'vitest'

/** Making a network namespace takes root, and `ip` where what we do is compared with what others see. */
const missing = process.getuid?.() === 0 ? whyNot() : 'needs root'

function whyNot(): string | undefined {
  try {
    execFileSync('ip', ['-V'])
    return undefined
  } catch {
    return 'needs ip, of iproute2'
  }
}

/** A block of cases that each work in namespaces of their own; where that cannot be, it is skipped and says why. */
export const describeInNamespaces = (name: string, cases: () => void): void => {
  describe.skipIf(missing !== undefined)(missing === undefined ? name : `${name} (${missing})`, cases)
}

let made = 0

/** A network namespace with nothing in it but a loopback device. Gone at the end of the block that holds it. */
export class Namespace implements Disposable {
  readonly name = `podveil-nl-${process.pid}-${made++}`
  readonly path = `/run/netns/${this.name}`

  constructor() {
    execFileSync('ip', ['netns', 'add', this.name])
  }

  /** Runs `ip` in here with the words of one command line. */
  ip(command: string, input?: string): string {
    const args = ['-n', this.name, ...command.split(' ')]
    return spawn(args, input)
  }

  /** Runs a program in here. @returns what it printed */
  run(argv: readonly string[], input?: string): string {
    return spawn(['netns', 'exec', this.name, ...argv], input)
  }

  /** What `ip` shows, with numbers in place of the names of tables, protocols and scopes. */
  show(command: string): Record<string, unknown>[] {
    return JSON.parse(this.ip(`-N -json ${command}`) || '[]')
  }

  /** Makes a device that carries without anything at its other end: of the kinds here, the first that this kernel has. */
  addDevice(name: string): string {
    for (const kind of ['dummy', 'ifb']) {
      try {
        this.ip(`link add ${name} type ${kind}`)
        this.ip(`link set ${name} up`)
        return kind
      } catch {
        // The next kind.
      }
    }
    throw new Error('this kernel has neither dummy nor ifb links')
  }

  [Symbol.dispose](): void {
    execFileSync('ip', ['netns', 'delete', this.name])
  }
}

/** Room for what 20 tables of routes look like. */
const MOST_OUTPUT = 1 << 28

const spawn = (args: readonly string[], input: string | undefined): string =>
  execFileSync('ip', args, {
    encoding: 'utf8',
    stdio: 'pipe',
    maxBuffer: MOST_OUTPUT,
    ...(input !== undefined && { input }),
  })
