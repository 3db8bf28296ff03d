import { type Command, Option } from 'commander'
import type { Family } from '#wg/ip.ts'
import { kubeconfigOption, print } from './common.ts'

/** `podveil export NODE`: a wg-quick configuration, without the private key. */
export function registerExport(program: Command): void {
  program
    .command('export')
    .description(
      'the WireGuard configuration of a node as wg-quick reads it, by what the Nodes announce; a placeholder for the private key',
    )
    .argument('<node>', 'name of a Node')
    .addOption(new Option('--family <n>', 'IP family: each has a device of its own').choices(['4', '6']).default('4'))
    .addOption(kubeconfigOption())
    .action(async (name: string, { family, kubeconfig }: { family: '4' | '6'; kubeconfig?: string }) => {
      const { exportNode } = await import('#src/status/sources/export.ts')
      print(await exportNode(name, Number(family) as Family, kubeconfig))
    })
}
