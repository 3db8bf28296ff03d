import { type Command, InvalidArgumentError } from 'commander'
import { jsonOption, kubeconfigOption, print, printJson, stateDirOption } from './common.ts'
import { fail } from './fail.ts'

interface StatusFlags {
  readonly node?: true
  readonly json?: true
  readonly watch?: true | number
  readonly kubeconfig?: string
  readonly stateDir: string
}

/** One answer: as text, as JSON, and whether all is as it should be. */
interface Answer {
  readonly text: string
  readonly json: unknown
  readonly good: boolean
}

/** `podveil status`: the mesh in one table, from the cluster or from this node. */
export function registerStatus(program: Command): void {
  program
    .command('status')
    .description(
      'which nodes encrypt, since when, and why not; exit status 1 when something that should be encrypted is not',
    )
    .option('--node', "this node's pairs, as its kernel has them: needs root, and no API server")
    .option('--watch [seconds]', 'again and again, until Ctrl-C', seconds)
    .addOption(jsonOption())
    .addOption(kubeconfigOption())
    .addOption(stateDirOption())
    .action(async (flags: StatusFlags) => {
      const ask = flags.node ? await nodeAnswer(flags) : await meshAnswer(flags)
      if (flags.watch !== undefined) await watch(ask, flags)
      show(await ask(), flags)
    })
}

async function meshAnswer({ kubeconfig }: StatusFlags): Promise<() => Promise<Answer>> {
  const { openApi, readMesh } = await import('#src/status/sources/cluster.ts')
  const { isAsItShould } = await import('#src/status/mesh-status.ts')
  const { meshView } = await import('#src/status/mesh-view.ts')
  const { paintFor } = await import('#src/status/format.ts')
  const client = await openApi(kubeconfig)
  return async () => {
    const { status, ageless } = await readMesh(client)
    if (ageless !== undefined)
      process.stderr.write(
        `podveil: dead agents are not told from live ones, their Leases cannot be read: ${ageless}\n`,
      )
    return { text: meshView(status, Date.now(), paintFor(process.stdout)), json: status, good: isAsItShould(status) }
  }
}

async function nodeAnswer({ stateDir }: StatusFlags): Promise<() => Promise<Answer>> {
  const { lookAtNode } = await import('#src/status/sources/node.ts')
  const { nodeStatus } = await import('#src/status/node-status.ts')
  const { nodeView } = await import('#src/status/node-view.ts')
  const { paintFor } = await import('#src/status/format.ts')
  return async () => {
    const { snapshot, kernel, notes } = await lookAtNode(stateDir)
    const status = nodeStatus(snapshot, kernel, Date.now(), notes)
    return {
      text: nodeView(status, Date.now(), paintFor(process.stdout)),
      json: status,
      good: status.verdict === 'encrypted' || status.verdict === 'off',
    }
  }
}

/** Does not return before Ctrl-C ends the process. */
async function watch(ask: () => Promise<Answer>, flags: StatusFlags): Promise<void> {
  const { setTimeout: delay } = await import('node:timers/promises')
  const period = (flags.watch === true ? 2 : (flags.watch ?? 2)) * 1000
  for (;;) {
    const answer = await ask().catch((error: unknown) => {
      // An API server that is away now may be back at the next look.
      fail(error)
      return undefined
    })
    if (answer && process.stdout.isTTY && !flags.json) process.stdout.write('\x1b[H\x1b[2J')
    if (answer) show(answer, flags)
    await delay(period)
  }
}

function show({ text, json, good }: Answer, flags: StatusFlags): void {
  if (flags.json) printJson(json)
  else print(text)
  process.exitCode = good ? 0 : 1
}

function seconds(text: string): number {
  const value = Number(text)
  if (!(value >= 0.5 && value <= 3600)) throw new InvalidArgumentError('0.5 to 3600 seconds.')
  return value
}
