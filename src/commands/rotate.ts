import type { Command } from 'commander'
import { kubeconfigOption, print } from './common.ts'

interface RotateFlags {
  readonly all?: true
  readonly compromised?: true
  readonly kubeconfig?: string
}

/** `podveil rotate`: new private keys, without a packet lost. */
export function registerRotate(program: Command): void {
  program
    .command('rotate')
    .argument('[nodes...]', 'nodes that are to take new keys')
    .description(
      'have nodes replace their private keys; traffic moves to the spare devices meanwhile, and none is lost',
    )
    .option('--all', 'every node')
    .option('--compromised', 'wait for no peer longer than 30 s: somebody else may know the keys')
    .addOption(kubeconfigOption())
    .action(async (nodes: string[], { all, compromised, kubeconfig }: RotateFlags, command: Command) => {
      if (nodes.length > 0 === (all === true)) command.error('error: name the nodes, or say --all')
      const { askForNewKeys } = await import('#src/cluster/rotation-request.ts')
      const { ApiClient } = await import('#src/cluster/api-client.ts')
      const { loadCredentials } = await import('#src/cluster/connect.ts')
      const client = new ApiClient({ credentials: await loadCredentials(kubeconfig) })
      try {
        const field = compromised ? 'compromised' : 'notBefore'
        for (const name of all ? ['default'] : nodes.map(node => `node.${node}`))
          print(
            `PodveilConfiguration ${name}: keys from before ${await askForNewKeys(client, name, field)} are replaced`,
          )
      } finally {
        client.close()
      }
    })
}
