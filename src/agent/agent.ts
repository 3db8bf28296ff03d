import { constants } from 'node:os'
import { pino } from 'pino'
import { ApiClient } from '#src/cluster/api-client.ts'
import { loadCredentials } from '#src/cluster/connect.ts'
import { ownNamespace } from '#src/cluster/in-cluster.ts'
import type { AgentFlags } from '#src/commands/agent.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { VERSION } from '#src/version.ts'
import { readinessOf } from './health.ts'
import { plainPieces, serve, stopServing } from './http-endpoint.ts'
import { readMachineId } from './keyring.ts'
import { MeshAgent } from './mesh-agent.ts'
import { releaseStart } from './release-start.ts'

/** Milliseconds after it is ready for the first time in which an agent does what it does once. */
const AFTERMATH_MS = 10_000

/**
 * Runs the agent until SIGTERM or SIGINT. What cannot be mended by waiting (credentials, a port that is taken) ends it
 * at once; everything else is tried again.
 * @throws CredentialsError, PortInUseError, ForeignAddressError
 */
export async function runAgent(options: AgentFlags & { environment: NodeJS.ProcessEnv }): Promise<void> {
  const { nodeName, kubeconfig, stateDir, dataplane, webPort, environment } = options
  const log = pino({ level: options.logLevel, base: { node: nodeName } }, pino.destination({ sync: true }))
  const client = new ApiClient({ credentials: await loadCredentials(kubeconfig) })
  const machineId = await readMachineId()
  const agent = new MeshAgent({
    client,
    nodeName: nodeName as NodeName,
    namespace: await ownNamespace(),
    machineId,
    stateDir,
    dataplane,
    environment,
    log,
    setLogLevel: level => {
      log.level = level ?? options.logLevel
    },
  })
  const servers = [
    await serve(
      'health',
      options.healthPort,
      {
        '/livez': agent.health.livez,
        '/readyz': readinessOf(options.readiness, agent.health, () => agent.inClear),
      },
      options.healthAddress,
    ),
    await serve(
      'metrics',
      options.metricsPort,
      { '/metrics': async () => plainPieces(await agent.metrics.exposition()) },
      options.metricsAddress,
    ),
  ]
  if (webPort > 0) {
    const { webPage } = await import('#src/web/web-page.ts')
    servers.push(await serve('web', webPort, webPage(client, stateDir), 'loopback'))
  }
  log.info(
    { event: 'agent-started', version: VERSION, server: client.server.href },
    `podveil ${VERSION} on ${nodeName}`,
  )
  agent.start()
  void agent.health.firstReady.then(() => {
    releaseStart()
    // What follows from a start, such as watching less, is over then too, and has touched as much again.
    setTimeout(releaseStart, AFTERMATH_MS).unref()
  })
  const signal = await untilSignal()
  log.info({ event: 'agent-stopping', signal }, 'stopping; the kernel keeps what was set')
  await agent.stop()
  for (const server of servers) stopServing(server)
}

/** A second signal ends the process at once. */
function untilSignal(): Promise<NodeJS.Signals> {
  // Nothing else keeps the process alive while all is idle.
  const alive = setInterval(() => {}, 2 ** 30)
  return new Promise(resolve => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => {
        clearInterval(alive)
        process.once(signal, () => process.exit(128 + constants.signals[signal]))
        resolve(signal)
      })
  })
}
