import type { Lab } from './lab.ts'

/** `podveil lab status --json`: people script against it, so members are added and never changed. */
export interface LabStatus {
  readonly name: string
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string
  readonly families: readonly (4 | 6)[]
  readonly switchNamespace: string
  readonly apiServer: {
    readonly kind: 'embedded' | 'real'
    readonly pid: number | null
    readonly addresses: readonly string[]
  }
  readonly nodes: readonly LabNodeStatus[]
}

export interface LabNodeStatus {
  readonly name: string
  readonly networkNamespace: string
  readonly underlayAddresses: readonly string[]
  readonly podCidrs: readonly string[]
  readonly podName: string
  readonly podNamespace: string
  readonly podAddresses: readonly string[]
  /** Null when it does not run. */
  readonly agentPid: number | null
  readonly agentLog: string
}

export const labStatus = (lab: Lab): LabStatus => ({
  name: lab.name,
  kubeconfig: lab.kubeconfig,
  families: lab.plan.families,
  switchNamespace: lab.plan.switchNamespace,
  apiServer: { kind: lab.api.kind, pid: lab.api.process?.pid ?? null, addresses: lab.plan.switchAddresses },
  nodes: lab.nodes.map(node => ({
    name: node.name,
    networkNamespace: node.namespace,
    underlayAddresses: node.addresses,
    podCidrs: node.podCidrs,
    podName: node.pod.name,
    podNamespace: node.pod.namespace,
    podAddresses: node.pod.addresses,
    agentPid: node.agent.pid ?? null,
    agentLog: node.agent.logFile,
  })),
})

/** The same for a person. */
export function statusText(status: LabStatus): string {
  const rows = [
    ['NODE', 'UNDERLAY', 'POD', 'POD ADDRESSES', 'AGENT'],
    ...status.nodes.map(node => [
      node.name,
      node.underlayAddresses.join(' '),
      node.podName,
      node.podAddresses.join(' '),
      node.agentPid === null ? 'not running' : `pid ${node.agentPid}`,
    ]),
  ]
  const server = status.apiServer.pid === null ? 'not running' : `pid ${status.apiServer.pid}`
  return [
    table(rows),
    '',
    `lab         ${status.name}`,
    `API server  ${status.apiServer.kind}, ${server}`,
    `kubeconfig  ${status.kubeconfig}`,
  ].join('\n')
}

/** Rows of text in aligned columns. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0)))
  return rows
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
