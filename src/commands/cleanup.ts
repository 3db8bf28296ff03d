import { type Command, Option } from 'commander'

interface CleanupFlags {
  readonly interface?: string[]
  readonly nodeName?: string
  readonly kubeconfig?: string
  readonly stateDir: string
  readonly forget?: true
}

/** `podveil cleanup`: no trace on this node. */
export function registerCleanup(program: Command): void {
  program
    .command('cleanup')
    .description('remove every trace of Podveil from this node; pod traffic goes in clear from then on')
    .option('--interface <name...>', 'WireGuard devices to remove; those of the configuration by default')
    .addOption(
      new Option(
        '--node-name <name>',
        'also withdraw what was written on this Node, and heed its FelixConfigurations',
      ).env('NODE_NAME'),
    )
    .addOption(new Option('--kubeconfig <file>', 'credentials for that; in-cluster ones by default').env('KUBECONFIG'))
    .addOption(new Option('--state-dir <dir>', 'of the agent').env('PODVEIL_STATE_DIR').default('/var/lib/podveil'))
    .option('--forget', 'also remove the state directory with the private keys in it')
    .action(async ({ interface: interfaces, nodeName, kubeconfig, stateDir, forget }: CleanupFlags) => {
      const { cleanup } = await import('#src/agent/cleanup.ts')
      const options = { interfaces, nodeName, kubeconfig, stateDir, forget: forget ?? false }
      await cleanup(options, line => process.stdout.write(`${line}\n`))
    })
}
