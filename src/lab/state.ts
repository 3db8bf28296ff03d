import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabError } from './errors.ts'
import { checkLabName, type Families, planLab } from './plan.ts'
import type { RpFilter } from './topology.ts'

export type DataplaneChoice = 'auto' | 'kernel' | 'userspace'

/** What a lab was made with; the rest follows from it. */
export interface LabSpec {
  readonly name: string
  readonly nodes: number
  readonly families: Families
  readonly dataplane: DataplaneChoice
  readonly rpFilter: RpFilter
  readonly api: 'embedded' | 'real'
  /** Nothing of Podveil and nothing of Calico is installed: an operator does that. Takes `api: 'real'`. */
  readonly bare: boolean
  /** Whether nodes run agents; without, it is a bare topology with an API server. */
  readonly agents: boolean
  /** More environment of every agent, such as FELIX_WIREGUARDMTU. */
  readonly agentEnv: Readonly<Record<string, string>>
  /** The kustomization below `manifests` whose Pods run on the nodes: `base`, `overlays/userspace`. */
  readonly manifest: string
  /** Whole command of every agent instead of what the manifest says; `{node}` stands for the node's name. */
  readonly agentCommand: readonly string[] | undefined
}

const ROOT = '/run/podveil-lab'

/** Files of a lab. Everything is below one directory, which is gone after `down`. */
export class LabFiles {
  readonly root: string
  constructor(name: string) {
    checkLabName(name)
    this.root = join(ROOT, name)
  }
  get spec(): string {
    return join(this.root, 'lab.json')
  }
  get kubeconfig(): string {
    return join(this.root, 'kubeconfig')
  }
  get apiserver(): string {
    return join(this.root, 'apiserver')
  }
  get apiSocket(): string {
    return join(this.apiserver, 'api.sock')
  }
  /** Where the embedded API server takes orders and tells what it has counted (apiserver/admin.ts). */
  get apiAdminSocket(): string {
    return join(this.apiserver, 'admin.sock')
  }
  /** PEM of the authority that signed the API server's certificate. */
  get apiCa(): string {
    return join(this.apiserver, 'tls', 'ca.crt')
  }
  get apiTokens(): string {
    return join(this.apiserver, 'tokens.csv')
  }
  get tokens(): string {
    return join(this.root, 'tokens.json')
  }
  /** What the relay says of itself: its port. */
  get relay(): string {
    return join(this.root, 'relay.json')
  }
  get capture(): string {
    return join(this.root, 'underlay.pcap')
  }
  /** Record of a running process, one file each. */
  process(role: string): string {
    return join(this.root, 'processes', `${role}.json`)
  }
  log(role: string): string {
    return join(this.root, 'logs', `${role}.log`)
  }
  /** What belongs to one node: kubeconfig, state directory, its own /run. */
  node(name: string, ...path: string[]): string {
    return join(this.root, 'nodes', name, ...path)
  }
  probeSocket(podName: string): string {
    return join(this.root, 'probes', `${podName}.sock`)
  }

  exists(): boolean {
    return existsSync(this.root)
  }

  /** @throws LabError when there is one already */
  create(spec: LabSpec): void {
    mkdirSync(ROOT, { recursive: true, mode: 0o755 })
    try {
      mkdirSync(this.root, { mode: 0o700 })
    } catch (cause) {
      throw alreadyThere(spec.name, cause)
    }
    for (const part of ['processes', 'logs', 'probes', 'nodes', 'apiserver']) mkdirSync(join(this.root, part))
    writeWhole(this.spec, JSON.stringify(spec, null, 2))
  }

  /** @throws LabError when there is no such lab, or its file is damaged */
  readSpec(): LabSpec {
    const name = this.root.slice(ROOT.length + 1)
    let text: string
    try {
      text = readFileSync(this.spec, 'utf8')
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EACCES')
        throw new LabError('ERR_LAB_NOT_ROOT', `lab ${name} belongs to root: run it with sudo`, { cause })
      throw new LabError('ERR_LAB_NOT_FOUND', `there is no lab ${name}: \`podveil lab up --name ${name}\` makes it`, {
        cause,
      })
    }
    return parseSpec(text, name)
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true })
    // The last lab takes the common directory with it.
    if (existsSync(ROOT) && readdirSync(ROOT).length === 0) rmSync(ROOT, { recursive: true, force: true })
  }
}

/** Names of labs that have left files, running or not. */
export const knownLabs = (): string[] => (existsSync(ROOT) ? readdirSync(ROOT) : [])

export const alreadyThere = (name: string, cause?: unknown): LabError =>
  new LabError('ERR_LAB_EXISTS', `lab ${name} is there already: \`podveil lab down --name ${name}\` removes it`, {
    cause,
  })

/** Replaces a file in one step, readable by its owner only. */
export function writeWhole(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 })
  renameSync(`${file}.new`, file)
}

function parseSpec(text: string, name: string): LabSpec {
  try {
    const spec = JSON.parse(text) as LabSpec
    if (spec.name !== name) throw new Error(`it is of ${spec.name}`)
    planLab(spec.name, spec.nodes, spec.families)
    return spec
  } catch (cause) {
    throw new LabError(
      'ERR_LAB_STATE',
      `the state of lab ${name} is damaged: \`podveil lab down --name ${name}\` removes it`,
      {
        cause,
      },
    )
  }
}
