import { Argument, type Command } from 'commander'
import { print } from './common.ts'

/** `podveil completion SHELL`. */
export function registerCompletion(program: Command): void {
  program
    .command('completion')
    .description('print the completion script of a shell')
    .addArgument(new Argument('<shell>', 'which').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: 'bash' | 'zsh' | 'fish') => {
      const { completionScript } = await import('./completion-script.ts')
      print(completionScript(program, shell))
    })
}
