import { type Command, InvalidArgumentError, Option } from 'commander'
import type { IpAddress } from '#wg/ip.ts'
import { address } from './common.ts'

/** `podveil agent`: runs on this node until it is told to stop. */
export function registerAgent(program: Command): void {
  program
    .command('agent')
    .description('run on this node: publish its key, program its tunnel, until SIGTERM; the kernel keeps what was set')
    .addOption(new Option('--node-name <name>', 'name of this Node object').env('NODE_NAME').makeOptionMandatory())
    .addOption(new Option('--kubeconfig <file>', 'credentials; in-cluster ones by default').env('KUBECONFIG'))
    .addOption(
      new Option('--dataplane <kind>', 'implementation of WireGuard')
        .env('PODVEIL_DATAPLANE')
        .choices(['auto', 'kernel', 'userspace'])
        .default('auto'),
    )
    .addOption(
      new Option('--state-dir <dir>', 'private keys and the last known mesh')
        .env('PODVEIL_STATE_DIR')
        .default('/var/lib/podveil'),
    )
    .addOption(new Option('--health-port <port>', '/livez and /readyz').default(9180).argParser(port))
    .addOption(
      new Option('--health-address <address>', 'of this node, that the health port is open on alone; all by default')
        .env('PODVEIL_HEALTH_ADDRESS')
        .argParser(address),
    )
    .addOption(new Option('--metrics-port <port>', '/metrics').default(9181).argParser(port))
    .addOption(
      new Option('--metrics-address <address>', 'of this node, that the metrics port is open on alone; all by default')
        .env('PODVEIL_METRICS_ADDRESS')
        .argParser(address),
    )
    .addOption(
      new Option(
        '--readiness <policy>',
        'what /readyz wants: the agent at work, or all pod traffic encrypted that should be',
      )
        .env('PODVEIL_READINESS')
        .choices(['agent', 'encrypted'])
        .default('agent'),
    )
    .addOption(
      new Option('--web-port <port>', 'a web page of the mesh, on the loopback of the node alone; 0 is none')
        .env('PODVEIL_WEB_PORT')
        .default(0)
        .argParser(text => (text === '0' ? 0 : port(text))),
    )
    .addOption(
      new Option('--log-level <level>', 'least severity that is logged')
        .choices(['trace', 'debug', 'info', 'warn', 'error'])
        .default('info'),
    )
    .action(async (options: AgentFlags) => {
      const { runAgent } = await import('#src/agent/agent.ts')
      await runAgent({ ...options, environment: process.env })
    })
}

export interface AgentFlags {
  readonly nodeName: string
  readonly kubeconfig?: string
  readonly dataplane: 'auto' | 'kernel' | 'userspace'
  readonly stateDir: string
  readonly healthPort: number
  /** Undefined is every address of the node. */
  readonly healthAddress?: IpAddress
  readonly metricsPort: number
  readonly metricsAddress?: IpAddress
  readonly readiness: 'agent' | 'encrypted'
  /** 0 is none. */
  readonly webPort: number
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error'
}

function port(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 1 || value > 65535) throw new InvalidArgumentError('a port is 1 to 65535.')
  return value
}
