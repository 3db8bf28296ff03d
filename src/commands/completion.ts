import { Argument, type Command } from 'commander'
import { print } from './common.ts'

/** `podveil completion SHELL`, and what kubectl asks its plugins. */
export function registerCompletion(program: Command): void {
  program
    .command('completion')
    .description('print the completion script of a shell')
    .addArgument(new Argument('<shell>', 'which').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: 'bash' | 'zsh' | 'fish') => {
      const { completionScript } = await import('./completion-script.ts')
      print(completionScript(program, shell))
    })

  program
    .command('complete', { hidden: true })
    .description('what may stand in place of the last word: for bin/kubectl_complete-podveil')
    .argument('[words...]')
    .allowUnknownOption()
    .helpOption(false)
    .action(async () => {
      const { offersFor } = await import('./completion-script.ts')
      // As they were typed: the parser would take a lone `--` away.
      print(offersFor(program, process.argv.slice(3)).join('\n'))
    })
}
