import { randomBytes } from 'node:crypto'
import { annotations, SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import { descriptionTexts } from '#src/cluster/self-description.ts'
import type { JsonObject } from '#src/lab/api.ts'
import { type Cidr, type IpAddress, parseAddress, parseCidr } from '#wg/ip.ts'

/** Images with two names each, as a kubelet lists them: as many as a node has that has run for a while. */
const IMAGES = 24

const NODE_INFO = {
  architecture: 'amd64',
  operatingSystem: 'linux',
  osImage: 'Debian GNU/Linux 13 (trixie)',
  kernelVersion: '6.12.0',
  kubeletVersion: 'v1.35.4',
  kubeProxyVersion: '',
  containerRuntimeVersion: 'containerd://2.1.0',
}

/**
 * A Node of 10 kB of JSON, 4 of them metadata, as a cluster has them. It announces a key as Calico's nodes do: they
 * speak no hello, so that an agent that is alone with them is as quiet as one whose peers have all answered.
 * @param index from 0 on
 */
export function largeNode(index: number, key = newKey()): JsonObject {
  const { name, address, podCidr, interfaceAddress } = placeOf(index)
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: labels(name),
      annotations: {
        'node.alpha.kubernetes.io/ttl': '0',
        'volumes.kubernetes.io/controller-managed-attach-detach': 'true',
        'csi.volume.kubernetes.io/nodeid': `{"csi.example.com":"i-${name}"}`,
        [annotations.publicKey[4]]: key,
        [annotations.interfaceAddress[4]]: interfaceAddress,
        [annotations.nodeAddress[4]]: `${address}/16`,
      },
      managedFields: managedFields(),
    },
    spec: { podCIDR: podCidr, podCIDRs: [podCidr], providerID: `example:///zone-${index % 3}/i-${name}` },
    status: statusOf(index, 0),
  }
}

/** A merge patch by which it describes itself, as agents of Podveil have their Nodes do. */
export function descriptionOf(index: number): JsonObject {
  const { address, podCidr } = placeOf(index)
  const { annotations, labels } = descriptionTexts({ addresses: [address], podCidrs: [podCidr] })
  return { metadata: { annotations: Object.fromEntries(annotations), labels: Object.fromEntries(labels) } }
}

/** Whose each field is, as the API server keeps it: the larger part of a Node's metadata. */
function managedFields(): JsonObject[] {
  const of = (...fields: readonly string[]): JsonObject =>
    Object.fromEntries(['.', ...fields.map(field => `f:${field}`)].map(field => [field, {}]))
  const time = '2026-01-01T00:00:00Z'
  const by = (manager: string, fieldsV1: JsonObject, subresource?: string): JsonObject => ({
    ...{ manager, operation: 'Update', apiVersion: 'v1', time, fieldsType: 'FieldsV1', fieldsV1 },
    ...(subresource !== undefined && { subresource }),
  })
  const conditions = ['MemoryPressure', 'DiskPressure', 'PIDPressure', 'Ready'].map(type => [
    `k:{"type":"${type}"}`,
    of('type', 'status', 'reason', 'message', 'lastHeartbeatTime', 'lastTransitionTime'),
  ])
  const addresses = ['InternalIP', 'Hostname'].map(type => [`k:{"type":"${type}"}`, of('type', 'address')])
  const resources = of('cpu', 'memory', 'pods', 'ephemeral-storage', 'hugepages-1Gi', 'hugepages-2Mi')
  return [
    by('kubelet', {
      'f:metadata': {
        'f:annotations': of('volumes.kubernetes.io/controller-managed-attach-detach'),
        'f:labels': of(...Object.keys(labels(''))),
      },
      'f:spec': { 'f:providerID': {} },
    }),
    by('kube-controller-manager', {
      'f:metadata': { 'f:annotations': of('node.alpha.kubernetes.io/ttl') },
      'f:spec': { 'f:podCIDR': {}, 'f:podCIDRs': { '.': {}, 'v:"10.64.0.0/24"': {} } },
    }),
    by(
      'kubelet',
      {
        'f:metadata': { 'f:annotations': of('csi.volume.kubernetes.io/nodeid') },
        'f:status': {
          'f:allocatable': resources,
          'f:capacity': resources,
          'f:conditions': Object.fromEntries(conditions),
          'f:images': {},
          'f:addresses': Object.fromEntries(addresses),
          'f:daemonEndpoints': { 'f:kubeletEndpoint': of('Port') },
          'f:nodeInfo': of(...Object.keys(NODE_INFO), 'bootID', 'machineID', 'systemUUID'),
        },
      },
      'status',
    ),
    by('podveil', {
      'f:metadata': {
        'f:annotations': of(annotations.publicKey[4], annotations.interfaceAddress[4], annotations.addresses),
        'f:labels': of(SELF_DESCRIBED),
      },
    }),
  ]
}

/** What a kubelet writes, every time with another heartbeat. @param beat counts them */
export function statusOf(index: number, beat: number): JsonObject {
  const { name, address } = placeOf(index)
  const time = new Date(Date.UTC(2026, 0, 1) + beat * 1_000).toISOString().replace('.000', '')
  const condition = (type: string, reason: string, status = 'False') => ({
    ...{ type, status, reason, message: `kubelet has ${reason} and says so in a sentence of the usual length` },
    lastHeartbeatTime: time,
    lastTransitionTime: '2026-01-01T00:00:00Z',
  })
  const resources = {
    cpu: '16',
    memory: '65536000Ki',
    pods: '110',
    'ephemeral-storage': '209702892Ki',
    'hugepages-1Gi': '0',
    'hugepages-2Mi': '0',
  }
  return {
    addresses: [
      { type: 'InternalIP', address },
      { type: 'Hostname', address: name },
    ],
    allocatable: resources,
    capacity: resources,
    conditions: [
      condition('MemoryPressure', 'KubeletHasSufficientMemory'),
      condition('DiskPressure', 'KubeletHasNoDiskPressure'),
      condition('PIDPressure', 'KubeletHasSufficientPID'),
      condition('Ready', 'KubeletReady', 'True'),
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
    images: Array.from({ length: IMAGES }, (_, at) => ({
      names: [
        `registry.example.com/team-${at % 7}/service-${at}@sha256:${String(at).padStart(64, '0')}`,
        `registry.example.com/team-${at % 7}/service-${at}:v1.${at}.0`,
      ],
      sizeBytes: 50_000_000 + at,
    })),
    nodeInfo: { ...NODE_INFO, bootID: name, machineID: name, systemUUID: name },
  }
}

export const newKey = (): string => randomBytes(32).toString('base64')

/** Where a node is: 4,096 × 256 of them. */
export function placeOf(index: number): {
  readonly name: string
  readonly address: IpAddress
  readonly podCidr: Cidr
  readonly interfaceAddress: string
} {
  // From 10.64.0.0 on, away from the lab's own networks.
  const [high, low] = [64 + (index >> 8), index & 255]
  return {
    name: `bench-${String(index).padStart(5, '0')}`,
    address: parseAddress(`172.${16 + (index >> 16)}.${(index >> 8) & 255}.${low}`),
    podCidr: parseCidr(`10.${high}.${low}.0/24`),
    interfaceAddress: `10.${high}.${low}.1`,
  }
}

const labels = (name: string): JsonObject => ({
  'beta.kubernetes.io/arch': 'amd64',
  'beta.kubernetes.io/instance-type': 'large',
  'beta.kubernetes.io/os': 'linux',
  'kubernetes.io/arch': 'amd64',
  'kubernetes.io/hostname': name,
  'kubernetes.io/os': 'linux',
  'node.kubernetes.io/instance-type': 'large',
  'topology.kubernetes.io/region': 'region-1',
  'topology.kubernetes.io/zone': 'zone-1',
})
