import { expect } from 'vitest'
import type { ApiAnswer, JsonObject, LabApi } from '#src/lab/api.ts'
import { AGENT_MANIFESTS } from '#src/lab/kube-apiserver/agents.ts'
import { applyObjects, readManifests } from '#src/lab/kube-apiserver/apply.ts'
import { waitUntil } from '#src/lab/wait.ts'

export const NODES = '/api/v1/nodes'

/** What a kubelet and a node controller put into a Node of these tests. */
export const nodeObject = (name: string, index: number): JsonObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels: { 'kubernetes.io/hostname': name }, annotations: { 'example.com/rack': 'a' } },
  spec: { podCIDR: `10.244.${index}.0/24`, podCIDRs: [`10.244.${index}.0/24`, `fd00:244:${index}::/64`] },
  status: {
    addresses: [
      { type: 'InternalIP', address: `10.200.0.${index}` },
      { type: 'InternalIP', address: `fd00:200::${index}` },
      { type: 'Hostname', address: name },
    ],
    capacity: { cpu: '2' },
    conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'ready' }],
  },
})

/** Applies what an operator applies, and waits until the policy refuses what it must: policies come into force a moment after they are stored. */
export async function installAgents(admin: LabApi, canary: () => Promise<ApiAnswer>): Promise<void> {
  await applyObjects(admin, AGENT_MANIFESTS.flatMap(readManifests))
  await waitUntil(async () => (await canary()).status === 403, 30_000, 'the admission policy to be in force')
}

export const annotate = (
  api: LabApi,
  node: string,
  annotations: Readonly<Record<string, string | null>>,
  subresource = '',
): Promise<ApiAnswer> => patchNode(api, node, { metadata: { annotations } }, subresource)

export const patchNode = (api: LabApi, node: string, patch: JsonObject, subresource = ''): Promise<ApiAnswer> =>
  api.request('PATCH', `${NODES}/${node}${subresource}`, patch, 'application/merge-patch+json')

/** Conditions are merged by their type only in a strategic merge patch. */
export const setCondition = (api: LabApi, node: string, type: string, status = 'True'): Promise<ApiAnswer> =>
  api.request(
    'PATCH',
    `${NODES}/${node}/status`,
    { status: { conditions: [{ type, status, reason: 'Test', message: 'from a test' }] } },
    'application/strategic-merge-patch+json',
  )

export function expectAllowed(answer: ApiAnswer): void {
  expect(answer.status, messageOf(answer)).toBe(200)
}

/** Refused by the policy, not for another reason, with a message that says what the matter is. */
export function expectRefused(answer: ApiAnswer, message: RegExp): void {
  expect(messageOf(answer)).toMatch(message)
  expect(messageOf(answer)).toContain('ValidatingAdmissionPolicy')
  expect([403, 422]).toContain(answer.status)
}

const messageOf = ({ body }: ApiAnswer): string => (typeof body.message === 'string' ? body.message : '')
