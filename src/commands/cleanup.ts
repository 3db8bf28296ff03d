import type { Command } from 'commander'

/** `podveil cleanup`: no trace on this node. */
export function registerCleanup(program: Command): void {
  program
    .command('cleanup')
    .description(
      'remove every trace of Podveil from this node: rules, routes, device; traffic goes in clear from then on',
    )
    .option('--interface <name...>', 'WireGuard devices to remove', ['wireguard.cali', 'wg-v6.cali'])
    .action(async (options: { interface: string[] }) => {
      const { cleanup } = await import('#src/agent/cleanup.ts')
      await cleanup(options.interface, line => process.stdout.write(`${line}\n`))
    })
}
