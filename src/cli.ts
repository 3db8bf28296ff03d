import { Command, CommanderError } from 'commander'
import { registerAgent } from './commands/agent.ts'
import { registerBreakGlass } from './commands/break-glass.ts'
import { registerCleanup } from './commands/cleanup.ts'
import { registerDiagnose } from './commands/diagnose.ts'
import { registerDiff } from './commands/diff.ts'
import { registerExplain } from './commands/explain.ts'
import { registerExport } from './commands/export.ts'
import { fail } from './commands/fail.ts'
import { registerGraph } from './commands/graph.ts'
import { registerLab } from './commands/lab.ts'
import { registerShow } from './commands/show.ts'
import { registerStatus } from './commands/status.ts'
import { registerVerify } from './commands/verify.ts'
import { VERSION } from './version.ts'

const program = new Command('podveil')
  .description('WireGuard encryption mesh for Kubernetes: pod traffic between nodes, tunnelled')
  .version(VERSION)
  .configureHelp({ showGlobalOptions: true })
  .exitOverride()

registerAgent(program)
registerLab(program)
registerStatus(program)
registerShow(program)
registerExplain(program)
registerVerify(program)
registerDiagnose(program)
registerDiff(program)
registerExport(program)
registerGraph(program)
registerCleanup(program)
registerBreakGlass(program)

try {
  await program.parseAsync()
} catch (error) {
  // commander has printed its own line already, and exits 0 for --help and --version.
  if (error instanceof CommanderError) process.exitCode = error.exitCode
  else fail(error)
}
