import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { inNamespace } from './namespaces.ts'
import type { NodePlan } from './plan.ts'
import type { LabFiles } from './state.ts'

/**
 * Every node has a /run of its own, so that interfaces of the same name on two nodes do not share /run/wireguard/NAME.sock,
 * and `wg` works on each unchanged. The lab's own directory stays visible in it, for kubeconfigs and logs.
 * The mounts are in the mount namespace that `ip netns exec` makes, and end with the command.
 */
const ENTER = 'mount --bind "$1" "$2$3" && mount --rbind "$2" /run && shift 3 && exec "$@"'

/** Directories that a node's commands are entered with. */
export function makeNodeDirectories(files: LabFiles, node: NodePlan): void {
  for (const part of ['host/var/lib/podveil', 'run/wireguard'])
    mkdirSync(files.node(node.name, part), { recursive: true, mode: 0o700 })
  mkdirSync(join(files.node(node.name, 'run'), belowRun(files)), { recursive: true })
}

/** Arguments that run a command on a node: in its network namespace, with its /run. */
export const onNode = (files: LabFiles, node: NodePlan, argv: readonly string[]): string[] =>
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
