import { must, type RunOptions, type RunResult, run } from './run.ts'

/** Names of all network namespaces that `ip netns` knows. */
export async function listNamespaces(): Promise<string[]> {
  const text = await must(['ip', 'netns', 'list'])
  return text
    .split('\n')
    .map(line => line.split(' ', 1)[0] ?? '')
    .filter(name => name !== '')
}

/** @throws LabError when one of them is there already; those before it have been made then */
export const addNamespaces = (names: readonly string[]): Promise<string> =>
  must(['ip', '-batch', '-'], { input: lines(names.map(name => `netns add ${name}`)) })

/** What is absent is fine. */
export async function removeNamespaces(names: readonly string[]): Promise<void> {
  if (names.length > 0)
    await run(['ip', '-force', '-batch', '-'], { input: lines(names.map(name => `netns del ${name}`)) })
}

/** Processes whose network namespace this is; none when it does not exist. */
export async function namespacePids(name: string): Promise<number[]> {
  const { status, stdout } = await run(['ip', 'netns', 'pids', name])
  return status === 0 ? stdout.split(/\s+/).filter(Boolean).map(Number) : []
}

/** Arguments that run a command inside of a namespace. `ip netns exec` makes a mount namespace as well, with its /sys. */
export const inNamespace = (name: string, argv: readonly string[]): string[] => ['ip', 'netns', 'exec', name, ...argv]

/** `ip` commands in one namespace, all or up to the first that fails. @throws LabError naming the failing line */
export const ipBatch = (name: string, commands: readonly string[]): Promise<string> =>
  must(['ip', '-n', name, '-batch', '-'], { input: lines(commands) })

/** Runs a command in a namespace to its end. */
export const runIn = (name: string, argv: readonly string[], options?: RunOptions): Promise<RunResult> =>
  run(inNamespace(name, argv), options)

/** Writes sysctls of one namespace, named by their path below /proc/sys/net. @throws LabError */
export async function setSysctls(name: string, values: Readonly<Record<string, number>>): Promise<void> {
  const script = Object.entries(values).map(([key, value]) => `echo ${value} > /proc/sys/net/${key}`)
  await must(inNamespace(name, ['sh', '-e']), { input: lines(script) })
}

const lines = (text: readonly string[]): string => text.map(line => `${line}\n`).join('')
