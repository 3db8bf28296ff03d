import { Command } from 'commander'
import { VERSION } from '../version.ts'
import { registerAgent } from './agent.ts'
import { registerBreakGlass } from './break-glass.ts'
import { registerCleanup } from './cleanup.ts'
import { registerCompletion } from './completion.ts'
import { registerDiagnose } from './diagnose.ts'
import { registerDiff } from './diff.ts'
import { registerExplain } from './explain.ts'
import { registerExport } from './export.ts'
import { registerGraph } from './graph.ts'
import { registerLab } from './lab.ts'
import { addManuals } from './manual.ts'
import { registerRotate } from './rotate.ts'
import { registerShow } from './show.ts'
import { registerStatus } from './status.ts'
import { registerVerify } from './verify.ts'

/** The whole command line, not yet parsed. */
export function podveil(): Command {
  const program = new Command('podveil')
    .description('WireGuard encryption mesh for Kubernetes: pod traffic between nodes, tunnelled')
    .version(VERSION)
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()

  program.commandsGroup('See:')
  for (const register of [registerStatus, registerExplain, registerVerify, registerGraph, registerExport])
    register(program)
  program.commandsGroup('See, on a node:')
  for (const register of [registerShow, registerDiff, registerDiagnose]) register(program)
  program.commandsGroup('Run:')
  for (const register of [registerAgent, registerRotate, registerBreakGlass, registerCleanup, registerLab])
    register(program)
  program.commandsGroup('Other:')
  registerCompletion(program)
  addManuals(program)
  return program
}
