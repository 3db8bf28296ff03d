import type { Command } from 'commander'
import { jsonOption, kubeconfigOption, print, printJson, stateDirOption } from './common.ts'

interface DiagnoseFlags {
  readonly json?: true
  readonly kubeconfig?: string
  readonly stateDir: string
}

/** `podveil diagnose`: what is wrong on this node, with the remedy. */
export function registerDiagnose(program: Command): void {
  program
    .command('diagnose')
    .description('what is wrong on this node, each with its remedy; changes nothing; exit status 1 when a check fails')
    .addOption(jsonOption())
    .addOption(kubeconfigOption())
    .addOption(stateDirOption())
    .action(async ({ json, kubeconfig, stateDir }: DiagnoseFlags) => {
      const { collectFindings } = await import('#src/status/sources/findings.ts')
      const { diagnose, isHealthy } = await import('#src/status/diagnose.ts')
      const { diagnoseView } = await import('#src/status/diagnose-view.ts')
      const { paintFor } = await import('#src/status/format.ts')
      const checks = diagnose(await collectFindings(stateDir, kubeconfig))
      if (json) printJson({ healthy: isHealthy(checks), checks })
      else print(diagnoseView(checks, paintFor(process.stdout)))
      process.exitCode = isHealthy(checks) ? 0 : 1
    })
}
