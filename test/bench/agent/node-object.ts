import { randomBytes } from 'node:crypto'
import { annotations } from '#src/cluster/annotations.ts'
import type { JsonObject } from '#src/lab/api.ts'
import { parseAddress } from '#wg/ip.ts'

/**
 * Images with two names each, as a kubelet lists them: as many as a node has that has run for a while, and some more in the place of
 * managedFields, of which the lab's API server keeps none.
 */
const IMAGES = 38

/**
 * A Node of 10 kB of JSON, as a cluster has them. It announces a key as Calico's nodes do: they
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
    },
    spec: { podCIDR: podCidr, podCIDRs: [podCidr], providerID: `example:///zone-${index % 3}/i-${name}` },
    status: statusOf(index, 0),
  }
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
    nodeInfo: {
      ...{ architecture: 'amd64', operatingSystem: 'linux', osImage: 'Debian GNU/Linux 13 (trixie)' },
      ...{
        kernelVersion: '6.12.0',
        kubeletVersion: 'v1.35.4',
        kubeProxyVersion: '',
        containerRuntimeVersion: 'containerd://2.1.0',
      },
      ...{ bootID: name, machineID: name, systemUUID: name },
    },
  }
}

export const newKey = (): string => randomBytes(32).toString('base64')

/** Where a node is: 4,096 × 256 of them. */
export function placeOf(index: number): {
  readonly name: string
  readonly address: string
  readonly podCidr: string
  readonly interfaceAddress: string
} {
  // From 10.64.0.0 on, away from the lab's own networks.
  const [high, low] = [64 + (index >> 8), index & 255]
  return {
    name: `bench-${String(index).padStart(5, '0')}`,
    address: parseAddress(`172.${16 + (index >> 16)}.${(index >> 8) & 255}.${low}`),
    podCidr: `10.${high}.${low}.0/24`,
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
