import { CommanderError } from 'commander'
import { fail } from './commands/fail.ts'
import { podveil } from './commands/program.ts'

try {
  await podveil().parseAsync()
} catch (error) {
  // commander has printed its own line already, and exits 0 for --help and --version.
  if (error instanceof CommanderError) process.exitCode = error.exitCode
  else fail(error)
}
