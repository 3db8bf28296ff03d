import { arch, release } from 'node:os'
import { familyOf } from '#wg/ip.ts'
import type { JsonObject, LabApi } from './api.ts'
import { AGENT_NAMESPACE } from './kube-apiserver/agents.ts'
import type { LabPlan, NodePlan } from './plan.ts'

export const NODES = '/api/v1/nodes'
export const PODS = '/api/v1/namespaces/default/pods'
export const FELIX_CONFIGURATIONS = '/apis/crd.projectcalico.org/v1/felixconfigurations'

/** Nobody pulls it. */
const PROBE_IMAGE = 'podveil.invalid/probe:lab'
const KUBELET_VERSION = 'v1.33.0'
const GO_ARCH: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }

/**
 * Puts into the API what kubelets, a controller manager and an operator would have put there.
 * @param bare there is no operator yet
 */
export async function createObjects(api: LabApi, plan: LabPlan, bare = false): Promise<void> {
  if (!bare) await installed(api)
  await Promise.all(plan.nodes.map(node => createNode(api, node)))
}

async function installed(api: LabApi): Promise<void> {
  // Where agents keep their Leases; on a real API server the manifests have made it.
  await api.request('POST', '/api/v1/namespaces', {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: AGENT_NAMESPACE },
  })
  await api.create(FELIX_CONFIGURATIONS, felixConfiguration('default', { wireguardEnabled: false }))
}

/** The Node and its Pod. */
export async function createNode(api: LabApi, node: NodePlan): Promise<void> {
  await api.create(NODES, nodeObject(node))
  await api.create(PODS, podObject(node))
  // Whoever creates a Pod does not say how it fares; its kubelet does.
  await api.mergePatch(`${PODS}/${node.podName}/status`, { status: podStatus(node) })
}

export async function deleteNode(api: LabApi, node: NodePlan): Promise<void> {
  await api.delete(`${PODS}/${node.podName}`)
  await api.delete(`${NODES}/${node.name}`)
}

export const felixConfiguration = (name: string, spec: JsonObject): JsonObject => ({
  apiVersion: 'crd.projectcalico.org/v1',
  kind: 'FelixConfiguration',
  metadata: { name },
  spec,
})

function nodeObject(node: NodePlan): JsonObject {
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
  const architecture = GO_ARCH[arch()] ?? arch()
  const condition = (type: string, status: string, reason: string, message: string) => ({
    ...{ type, status, reason, message },
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  })
  const resources = { cpu: '2', memory: '4Gi', pods: '110', 'ephemeral-storage': '20Gi' }
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: node.name,
      labels: {
        'kubernetes.io/hostname': node.name,
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': architecture,
        'beta.kubernetes.io/os': 'linux',
        'beta.kubernetes.io/arch': architecture,
      },
      annotations: { 'node.alpha.kubernetes.io/ttl': '0' },
    },
    spec: { podCIDR: node.podCidrs[0], podCIDRs: node.podCidrs },
    status: {
      addresses: [
        ...node.addresses.map(address => ({ type: 'InternalIP', address })),
        { type: 'Hostname', address: node.name },
      ],
      capacity: resources,
      allocatable: resources,
      conditions: [
        condition('MemoryPressure', 'False', 'KubeletHasSufficientMemory', 'kubelet has sufficient memory available'),
        condition('DiskPressure', 'False', 'KubeletHasNoDiskPressure', 'kubelet has no disk pressure'),
        condition('PIDPressure', 'False', 'KubeletHasSufficientPID', 'kubelet has sufficient PID available'),
        condition('Ready', 'True', 'KubeletReady', 'kubelet is posting ready status'),
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
      nodeInfo: {
        architecture,
        bootID: `00000000-0000-4000-8000-${String(node.index).padStart(12, '0')}`,
        containerRuntimeVersion: 'containerd://2.0.0',
        kernelVersion: release(),
        kubeProxyVersion: KUBELET_VERSION,
        kubeletVersion: KUBELET_VERSION,
        machineID: String(node.index).padStart(32, '0'),
        operatingSystem: 'linux',
        osImage: 'Podveil lab (network namespace)',
        systemUUID: `00000000-0000-4000-9000-${String(node.index).padStart(12, '0')}`,
      },
    },
  }
}

const podObject = (node: NodePlan): JsonObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: node.podName, namespace: 'default', labels: { app: 'probe' } },
  spec: {
    nodeName: node.name,
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 0,
    containers: [{ name: 'probe', image: PROBE_IMAGE }],
  },
})

function podStatus(node: NodePlan): JsonObject {
  const [podIP] = node.podAddresses
  const hostIP = podIP && node.addresses.find(address => familyOf(address) === familyOf(podIP))
  return {
    phase: 'Running',
    hostIP,
    hostIPs: node.addresses.map(ip => ({ ip })),
    podIP,
    podIPs: node.podAddresses.map(ip => ({ ip })),
    conditions: [{ type: 'Ready', status: 'True' }],
    containerStatuses: [
      { name: 'probe', image: PROBE_IMAGE, imageID: '', ready: true, restartCount: 0, state: { running: {} } },
    ],
  }
}
