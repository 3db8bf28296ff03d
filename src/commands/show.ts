import type { Command } from 'commander'
import { print, stateDirOption } from './common.ts'

/** `podveil show`: `wg show` with node names in place of keys. */
export function registerShow(program: Command): void {
  program
    .command('show')
    .description("this node's WireGuard devices as `wg show` prints them, with node names in place of keys; needs root")
    .addOption(stateDirOption())
    .action(async ({ stateDir }: { stateDir: string }) => {
      const { lookAtNode } = await import('#src/status/sources/node.ts')
      const { namesByKey, showView } = await import('#src/status/show-view.ts')
      const { paintFor } = await import('#src/status/format.ts')
      const { snapshot, kernel, notes } = await lookAtNode(stateDir)
      if (!kernel) throw new Error(notes.join('; '))
      const paint = paintFor(process.stdout)
      const parts = ([4, 6] as const).flatMap(family => {
        const { device, spare } = kernel.families[family]
        return [device, spare?.device].flatMap(
          one => showView({ device: one }, namesByKey(snapshot, family), Date.now(), paint) ?? [],
        )
      })
      if (parts.length > 0) print(parts.join('\n\n'))
      else
        process.stderr.write(
          'podveil: there is no WireGuard device here: is encryption on? `podveil status --node` says\n',
        )
    })
}
