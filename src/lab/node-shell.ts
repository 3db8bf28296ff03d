import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inNamespace } from './namespaces.ts'
import type { NodePlan } from './plan.ts'
import { liveProcess, startDetached } from './processes.ts'
import type { LabFiles } from './state.ts'
import { waitUntil } from './wait.ts'

/**
 * Every node has a /run of its own, so that interfaces of the same name on two nodes do not share /run/wireguard/NAME.sock,
 * and `wg` works on each unchanged. The lab's own directory stays visible in it, for kubeconfigs and logs.
 * The mounts are in the mount namespace that `ip netns exec` makes, and end with what runs in it.
 */
const ENTER = 'mount --bind "$1" "$2$3" && mount --rbind "$2" /run && shift 3 && exec "$@"'

/** Directories that a node's commands are entered with. */
export function makeNodeDirectories(files: LabFiles, node: NodePlan): void {
  for (const part of ['host/var/lib/podveil', 'run/wireguard'])
    mkdirSync(files.node(node.name, part), { recursive: true, mode: 0o700 })
  mkdirSync(join(files.node(node.name, 'run'), belowRun(files)), { recursive: true })
}

const mountsOf = (node: NodePlan): string => `mounts-${node.name}`

/** Keeps the node's mounts for all commands that follow: to make them takes five times as long as what most commands do. */
export async function keepMounts(files: LabFiles, node: NodePlan): Promise<void> {
  const role = mountsOf(node)
  const [program, ...argv] = ['sleep', 'infinity']
  const { pid } = await startDetached(mounting(files, node, [program, ...argv]), {
    recordFile: files.process(role),
    logFile: files.log(role),
  })
  const isThere = () => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === program
  await waitUntil(isThere, 60_000, `the mounts of ${node.name}`)
}

/** Arguments that run a command on a node: in its network namespace, with its /run, in the current directory. */
export function onNode(files: LabFiles, node: NodePlan, argv: readonly string[]): string[] {
  const mounts = liveProcess(files.process(mountsOf(node)))
  if (!mounts) return mounting(files, node, argv)
  const enter = ['nsenter', '--target', `${mounts.pid}`, '--mount', '--net', '--']
  return [...enter, 'env', `--chdir=${process.cwd()}`, ...argv]
}

const mounting = (files: LabFiles, node: NodePlan, argv: readonly string[]): string[] =>
  inNamespace(node.namespace, [
    'sh',
    '-c',
    ENTER,
    'podveil-lab',
    files.root,
    files.node(node.name, 'run'),
    belowRun(files),
    ...argv,
  ])

const belowRun = (files: LabFiles): string => files.root.slice('/run'.length)
