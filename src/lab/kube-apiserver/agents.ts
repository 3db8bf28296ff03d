import { fileURLToPath } from 'node:url'
import type { JsonObject, LabApi } from '../api.ts'

/** What an operator applies for the agents, apart from the workload itself. */
export const AGENT_MANIFESTS = [
  'namespace',
  'serviceaccount',
  'clusterrole',
  'clusterrolebinding',
  'admission-policy',
].map(name => fileURLToPath(new URL(`../../../manifests/base/${name}.yaml`, import.meta.url)))

/** No Pod is let into a namespace that lacks it. A controller manager would make it; here is none. */
export const DEFAULT_SERVICE_ACCOUNT = {
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name: 'default', namespace: 'default' },
}

export const AGENT_NAMESPACE = 'podveil-system'
export const AGENT_SERVICE_ACCOUNT = 'podveil-agent'

const NAMESPACE = `/api/v1/namespaces/${AGENT_NAMESPACE}`
// The server caps what it finds too long; a lab is seldom up for so many days.
const TOKEN_SECONDS = 30 * 24 * 3600

/**
 * Makes a Pod on each node and a token of the agents' ServiceAccount that is bound to it, as a kubelet does for an agent that it runs.
 * @returns tokens by the node's name
 */
export async function issueAgentTokens(api: LabApi, nodes: readonly string[]): Promise<Record<string, string>> {
  const issued = nodes.map(async node => [node, await issueAgentToken(api, node)] as const)
  return Object.fromEntries(await Promise.all(issued))
}

export async function issueAgentToken(api: LabApi, node: string, seconds = TOKEN_SECONDS): Promise<string> {
  const name = `podveil-agent-${node}`
  const made = await api.request('POST', `${NAMESPACE}/pods`, agentPod(name, node))
  const pod = (made.status === 409 ? await api.get(`${NAMESPACE}/pods/${name}`) : made.body) as {
    metadata?: { uid?: string }
  }
  return issueToken(api, { kind: 'Pod', apiVersion: 'v1', name, uid: pod.metadata?.uid }, seconds)
}

/** @param boundObjectRef without it, the token names neither Pod nor Node */
export async function issueToken(api: LabApi, boundObjectRef?: JsonObject, seconds = TOKEN_SECONDS): Promise<string> {
  const path = `${NAMESPACE}/serviceaccounts/${AGENT_SERVICE_ACCOUNT}/token`
  const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest' }
  const spec = { expirationSeconds: seconds, ...(boundObjectRef && { boundObjectRef }) }
  const { status } = (await api.must('POST', path, { ...request, spec })) as { status?: { token?: string } }
  return status?.token ?? ''
}

const agentPod = (name: string, node: string): JsonObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    namespace: AGENT_NAMESPACE,
    labels: { 'app.kubernetes.io/name': 'podveil', 'app.kubernetes.io/component': 'agent' },
    annotations: { 'kubectl.kubernetes.io/default-container': 'agent' },
  },
  spec: {
    nodeName: node,
    serviceAccountName: AGENT_SERVICE_ACCOUNT,
    hostNetwork: true,
    containers: [{ name: 'agent', image: 'podveil.invalid/agent:lab' }],
  },
})
