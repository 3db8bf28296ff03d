import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { LabOptions } from '#src/lab/lab.ts'

type UpFlags = Required<Pick<LabOptions, 'name' | 'nodes' | 'families' | 'dataplane' | 'rpFilter' | 'api' | 'agents'>>
type NameFlag = Pick<UpFlags, 'name'>

/** `podveil lab`: a whole cluster in network namespaces of this machine. */
export function registerLab(program: Command): void {
  const lab = program
    .command('lab')
    .description(
      'a whole cluster on this machine, in network namespaces: nodes, pods, an API server, traffic, a sniffer',
    )

  withTopology(lab.command('up').description('make a lab and leave it running')).action(async (flags: UpFlags) => {
    const { Lab } = await import('#src/lab/lab.ts')
    const { labStatus, statusText } = await import('#src/lab/status.ts')
    const made = await Lab.up(flags, interruption())
    const hint = `kubectl --kubeconfig "$(podveil lab kubeconfig --name ${made.name})" get nodes`
    print(`${statusText(labStatus(made))}\n\n${hint}`)
  })

  named(lab.command('status').description('nodes, pods, addresses, agents, and where the kubeconfig is'))
    .option('--json', 'for programs')
    .action(async ({ name, json }: NameFlag & { json?: true }) => {
      const { Lab } = await import('#src/lab/lab.ts')
      const { labStatus, statusText } = await import('#src/lab/status.ts')
      const status = labStatus(Lab.open(name))
      print(json ? JSON.stringify(status, null, 2) : statusText(status))
    })

  named(lab.command('exec').description('run a command on a node or in a pod: podveil lab exec node-1 -- wg show'))
    .argument('<node-or-pod>', 'such as node-1 or pod-1')
    .argument('<command...>', 'after --')
    .action(async (place: string, command: string[], { name }: NameFlag) => {
      const { Lab } = await import('#src/lab/lab.ts')
      process.exitCode = await runAttached(Lab.open(name).enter(place, command))
    })

  named(lab.command('kubeconfig').description('print the path of the kubeconfig')).action(
    async ({ name }: NameFlag) => {
      const { Lab } = await import('#src/lab/lab.ts')
      print(Lab.open(name).kubeconfig)
    },
  )

  named(lab.command('watch').description('traffic between all pods; loss and clear text on the underlay, each second'))
    .addOption(rateOption())
    .option('--seconds <n>', 'how long; until Ctrl-C by default', atLeastOne)
    .action(async ({ name, rate, seconds }: NameFlag & { rate?: number; seconds?: number }) => {
      const { Lab } = await import('#src/lab/lab.ts')
      const { watchLab, reportText } = await import('#src/lab/watch.ts')
      const report = await watchLab(Lab.open(name), { rate, seconds, signal: interruption(), print })
      print(reportText(report))
      process.exit(report.lost === 0 ? 0 : 1)
    })

  named(lab.command('down').description('remove a lab, complete or not')).action(async ({ name }: NameFlag) => {
    const { Lab } = await import('#src/lab/lab.ts')
    await Lab.remove(name)
  })

  withTopology(
    lab.command('demo').description('make a lab, turn encryption on and off under traffic, count, remove it'),
    'demo',
  )
    .addOption(rateOption())
    .option('--seconds <n>', 'length of each phase', atLeastOne, 5)
    .action(async ({ rate, seconds, ...options }: UpFlags & { rate?: number; seconds: number }) => {
      const { runDemo } = await import('#src/lab/demo.ts')
      const signal = interruption()
      const held = await runDemo({ options, rate, seconds, signal, print })
      process.exit(signal.aborted ? 130 : held ? 0 : 1)
    })
}

const named = (command: Command, name = 'default'): Command => command.option('--name <lab>', 'which lab', name)

const withTopology = (command: Command, name?: string): Command =>
  named(command, name)
    .option('--nodes <n>', 'number of nodes', atLeastOne, 3)
    .addOption(new Option('--families <f>', 'address families').choices(['4', '6', 'dual']).default('dual'))
    .addOption(
      new Option('--dataplane <kind>', 'implementation of WireGuard')
        .choices(['auto', 'kernel', 'userspace'])
        .default('auto'),
    )
    .addOption(
      new Option('--rp-filter <n>', 'reverse-path filter of the underlay: 0 off, 1 strict, 2 loose')
        .choices(['0', '1', '2'])
        .default(0)
        .argParser(reversePathFilter),
    )
    .addOption(new Option('--api <kind>', 'API server').choices(['embedded', 'real']).default('embedded'))
    .option('--no-agents', 'nodes without agents')

const rateOption = (): Option =>
  new Option(
    '--rate <n>',
    'datagrams a second for each pair of pods and family; by default what two cores can carry, 200 at most',
  ).argParser(atLeastOne)

function atLeastOne(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('a whole number from 1.')
  return Number(text)
}

function reversePathFilter(text: string): number {
  if (!/^[012]$/.test(text)) throw new InvalidArgumentError('0, 1 or 2.')
  return Number(text)
}

/** Aborted by the first Ctrl-C or SIGTERM, so that what was made is removed. */
function interruption(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort())
  return controller.signal
}

/** Runs a command on this terminal. @returns its exit status */
async function runAttached([file = '', ...args]: readonly string[]): Promise<number> {
  const { statusOf } = await import('#src/lab/run.ts')
  const child = spawn(file, args, { stdio: 'inherit' })
  // Ctrl-C is for the command; we wait for what it makes of it.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return statusOf(code, signal)
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
