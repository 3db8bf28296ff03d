import type { Command } from 'commander'

/** `podveil break-glass`: opens the guard on this node, for the night when it is in the way. */
export function registerBreakGlass(program: Command): void {
  program
    .command('break-glass')
    .description('open the guard on this node at once, agent or not; pod traffic may go in clear until --mend')
    .option('--mend', 'close it again')
    .option('--reason <text>', 'for the log', 'no reason given')
    .option(
      '--state-dir <dir>',
      'the state directory of the agent',
      process.env.PODVEIL_STATE_DIR ?? '/var/lib/podveil',
    )
    .action(async (options: { mend?: true; reason: string; stateDir: string }) => {
      const { breakGlass } = await import('#src/agent/break-glass.ts')
      await breakGlass(options, line => process.stdout.write(`${line}\n`))
    })
}
