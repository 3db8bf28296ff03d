import { accessSync, constants, realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { LabError } from '../errors.ts'

/** The programs of a real control plane. Without `etcd`, kube-apiserver has one inside and takes --etcd-dir for it. */
export interface ControlPlanePrograms {
  readonly kubeApiserver: string
  readonly etcd: string | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * A real kube-apiserver of this machine: KUBEBUILDER_ASSETS where set, as envtest has it, else what test/kube-apiserver/build has made.
 * @throws LabError when KUBEBUILDER_ASSETS is set and does not hold both programs
 */
export function findControlPlane(env: Environment = process.env): ControlPlanePrograms | undefined {
  const assets = env.KUBEBUILDER_ASSETS
  if (assets) {
    const programs = { kubeApiserver: join(assets, 'kube-apiserver'), etcd: join(assets, 'etcd') }
    const missing = Object.values(programs).find(path => !isExecutable(path))
    if (missing === undefined) return programs
    throw new LabError('ERR_LAB_MISSING_TOOL', `KUBEBUILDER_ASSETS is set, but ${missing} is no program`)
  }
  const built = join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'podveil', 'kube-apiserver-current')
  return isExecutable(built) ? { kubeApiserver: realpathSync(built), etcd: undefined } : undefined
}

/** @throws LabError that says how to get one */
export function needControlPlane(env: Environment = process.env): ControlPlanePrograms {
  const programs = findControlPlane(env)
  if (programs) return programs
  throw new LabError(
    'ERR_LAB_MISSING_TOOL',
    'no kube-apiserver on this machine: set KUBEBUILDER_ASSETS, or build one with test/kube-apiserver/build (takes Go)',
  )
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
