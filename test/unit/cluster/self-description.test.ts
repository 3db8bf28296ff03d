import { expect, test } from 'vitest'
import { annotations } from '#src/cluster/annotations.ts'
import { projectNode, projectNodeMetadata } from '#src/cluster/node-record.ts'
import { describesItself, descriptionTexts, selfDescription } from '#src/cluster/self-description.ts'

const NODE = {
  metadata: {
    name: 'a',
    uid: 'u',
    creationTimestamp: '2026-01-01T00:00:00Z',
    labels: { 'kubernetes.io/os': 'linux' },
    annotations: { [annotations.nodeAddress[4]]: '172.20.0.5/16', [annotations.hello]: '1' },
  },
  spec: { podCIDRs: ['10.244.1.0/24', 'fd00:1::/64'] },
  status: {
    addresses: [
      { type: 'Hostname', address: 'a' },
      { type: 'InternalIP', address: '192.168.0.5' },
      { type: 'ExternalIP', address: '203.0.113.5' },
      { type: 'ExternalIP', address: '2001:db8::5' },
    ],
  },
}

/** Its metadata alone, once its agent has said on it what it has to say of itself. */
function described(node: typeof NODE) {
  const record = projectNode(node)
  if (!record) throw new Error('no record')
  const { annotations: texts, labels } = descriptionTexts(selfDescription(node, record))
  const { metadata } = node
  const said = {
    annotations: { ...metadata.annotations, ...Object.fromEntries([...texts].filter(([, text]) => text !== null)) },
    labels: { ...metadata.labels, ...Object.fromEntries(labels) },
  }
  return { kind: 'PartialObjectMetadata', metadata: { ...metadata, ...said } }
}

test.each([
  ['of both families, with what Calico detected', NODE],
  ['without a status', { ...NODE, status: { addresses: [] } }],
  ['without pod CIDRs', { ...NODE, spec: { podCIDRs: [] } }],
])('the metadata of a Node %s says all that the whole of it does', (_, node) => {
  expect(projectNodeMetadata(described(node))).toEqual(projectNode(node))
  // Control: without it not.
  if (node === NODE) expect(projectNodeMetadata(node)).not.toEqual(projectNode(node))
})

test('what a Node says of itself is of its status and spec alone, as the admission policy asks for', () => {
  const { metadata } = described(NODE)
  expect(metadata.annotations).toMatchObject({
    [annotations.addresses]: '192.168.0.5,2001:db8::5',
    [annotations.podCidrs]: '10.244.1.0/24,fd00:1::/64',
  })
})

test('a Node describes itself by a label, which goes with what it says', () => {
  expect(describesItself(NODE)).toBe(false)
  expect(describesItself(described(NODE))).toBe(true)
  expect(describesItself(undefined)).toBe(false)
  const { annotations: texts, labels } = descriptionTexts(undefined)
  expect(new Set([...texts.values(), ...labels.values()])).toEqual(new Set([null]))
})
