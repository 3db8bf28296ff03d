import { hostname } from 'node:os'
import { type Command, Option } from 'commander'
import type { IpAddress } from '#wg/ip.ts'
import { address, jsonOption, kubeconfigOption, print, printJson, stateDirOption } from './common.ts'

interface DiagnoseFlags {
  readonly json?: true
  readonly bundle?: true | string
  readonly metricsPort: number
  readonly metricsAddress: IpAddress
  readonly kubeconfig?: string
  readonly stateDir: string
}

/** `podveil diagnose`: what is wrong on this node, with the remedy. */
export function registerDiagnose(program: Command): void {
  program
    .command('diagnose')
    .description('what is wrong on this node, each with its remedy; changes nothing; exit status 1 when a check fails')
    .option('--bundle [file]', 'also write a support archive, without secrets; podveil-NODE-TIME.tar.gz by default')
    .option('--metrics-port <port>', 'of the agent, for the archive', Number, 9181)
    .addOption(
      new Option('--metrics-address <address>', 'of the agent, for the archive')
        .env('PODVEIL_METRICS_ADDRESS')
        .default('127.0.0.1')
        .argParser(address),
    )
    .addOption(jsonOption())
    .addOption(kubeconfigOption())
    .addOption(stateDirOption())
    .action(async ({ json, bundle, metricsPort, metricsAddress, kubeconfig, stateDir }: DiagnoseFlags) => {
      const { collectFindings } = await import('#src/status/sources/findings.ts')
      const { diagnose, isHealthy } = await import('#src/status/diagnose.ts')
      const { diagnoseView } = await import('#src/status/diagnose-view.ts')
      const { paintFor } = await import('#src/status/format.ts')
      const checks = diagnose(await collectFindings(stateDir, kubeconfig))
      if (json) printJson({ healthy: isHealthy(checks), checks })
      else print(diagnoseView(checks, paintFor(process.stdout)))
      if (bundle !== undefined) {
        const { writeBundle } = await import('#src/bundle/bundle.ts')
        const path = bundle === true ? `podveil-${hostname()}-${Date.now()}.tar.gz` : bundle
        const metrics = { address: metricsAddress, port: metricsPort }
        const names = await writeBundle({ path, stateDir, kubeconfig, metrics, checks })
        process.stderr.write(`wrote ${path}, ${names.length} files; look through it before you hand it on\n`)
      }
      process.exitCode = isHealthy(checks) ? 0 : 1
    })
}
