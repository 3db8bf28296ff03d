import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'
import { nodeProgram } from '#src/lab/node-program.ts'
import { familyOf, parseAddress } from '#wg/ip.ts'

const PORT = 7_081

/** Takes whatever comes, so that nothing is answered. */
const SINK = `
  const { createSocket } = require('node:dgram')
  for (const type of ['udp4', 'udp6']) createSocket({ type, ipv6Only: type === 'udp6' }).bind(${PORT}, () => process.stdout.write('.'))
  process.stdin.resume().on('end', () => process.exit())`

/** One connected socket for each target, open for as long as this runs: the kernel looks for its way once. */
const SENDER = `
  const { createSocket } = require('node:dgram')
  for (const { address, family } of JSON.parse(process.argv[1])) {
    const socket = createSocket('udp' + family).on('error', () => {})
    socket.connect(${PORT}, address, () => setInterval(() => socket.send('still here', () => {}), 20))
  }
  process.stdout.write('.')
  process.stdin.resume().on('end', () => process.exit())`

/** A host that speaks to the pods of all other nodes by sockets that stay open, until it is disposed of. */
export class OpenSockets implements AsyncDisposable {
  readonly #children: readonly ChildProcess[]

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children
  }

  static async open(lab: Lab, host: LabNode): Promise<OpenSockets> {
    const others = lab.nodes.filter(node => node !== host)
    const targets = others
      .flatMap(({ pod }) => pod.addresses)
      .map(address => ({ address, family: familyOf(parseAddress(address)) }))
    const sinks = others.map(({ pod }) => run(pod.namespace, SINK))
    await Promise.all(sinks.map(ready))
    const sender = run(host.namespace, SENDER, JSON.stringify(targets))
    await ready(sender)
    return new OpenSockets([...sinks, sender])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#children.map(async child => {
        if (child.exitCode !== null) return
        const closed = once(child, 'close')
        child.stdin?.end()
        await closed
      }),
    )
  }
}

function run(namespace: string, ...program: readonly string[]): ChildProcess {
  const [command = '', ...argv] = inNamespace(namespace, [nodeProgram(), '-e', ...program])
  return spawn(command, argv, { stdio: ['pipe', 'pipe', 'inherit'] })
}

async function ready(child: ChildProcess): Promise<void> {
  if (child.stdout) await once(child.stdout, 'data')
}
