import { expect, test } from 'vitest'
import { type Check, diagnose, isHealthy } from '#src/status/diagnose.ts'
import { diagnoseView } from '#src/status/diagnose-view.ts'
import type { Findings } from '#src/status/findings.ts'
import { plain } from '#src/status/format.ts'
import { ago, family4, kernel, kernelFamily, keyOf, NOW, peer, snapshot, withoutRule } from './support/snapshots.ts'

const findings = (changes: Partial<Findings> = {}): Findings => ({
  now: NOW,
  snapshot: snapshot(),
  kernel: kernel(),
  mayAdminister: true,
  noWireGuard: undefined,
  firewall: true,
  api: { server: '10.0.0.1:6443', announced: { 4: keyOf(1), 6: undefined } },
  keyFile: 'loaded',
  reversePath: new Map([
    ['all', { filter: 0, validMark: 0 }],
    ['eth0', { filter: 0, validMark: 0 }],
    ['wireguard.cali', { filter: 2, validMark: 0 }],
  ]),
  links: [
    { name: 'lo', kind: undefined, mtu: 65536, up: true },
    { name: 'eth0', kind: undefined, mtu: 1500, up: true },
    { name: 'cali1', kind: 'veth', mtu: 1500, up: true },
  ],
  boundPorts: new Set([51820]),
  otherDevices: [],
  felixRuns: false,
  ...changes,
})

const failures = (changes: Partial<Findings>): string[] =>
  diagnose(findings(changes))
    .filter(({ result }) => result === 'fail')
    .map(({ name, found }) => `${name}: ${found}`)

test('a node that is well has nothing to say but what was looked at', () => {
  const checks = diagnose(findings())
  expect(checks.filter(({ result }) => result !== 'ok')).toEqual([])
  expect(isHealthy(checks)).toBe(true)
  expect(diagnoseView(checks, plain)).toMatch(
    /^ok {4}privileges .*CAP_NET_ADMIN\n[\s\S]*\n\nnothing is wrong on this node$/,
  )
})

test('a pod with a larger MTU than the tunnel is a warning where nothing clamps TCP, and none where our table does', () => {
  const found = diagnose(findings({ firewall: false })).filter(({ result }) => result === 'warn')
  expect(found).toMatchObject([
    { name: 'wireguard.cali and pods', found: expect.stringMatching(/pods have an MTU of 1500.* nothing clamps TCP/) },
  ])
  expect(diagnose(findings()).find(({ name }) => name === 'wireguard.cali MTU')?.found).toMatch(/TCP is clamped/)
})

test.each<[string, Partial<Findings>, string[]]>([
  [
    'a rule that is gone, and what follows from it',
    { kernel: kernel(withoutRule(100)) },
    ['rule 100: no rule leads pods to table 2: pods to remote nodes go in clear'],
  ],
  [
    'a device that is down',
    { kernel: kernel({ link: { ...link(), up: false } }) },
    [
      'wireguard.cali: is down',
      'peer node-2 IPv4: in clear: wireguard.cali is down',
      'peer node-3 IPv4: in clear: wireguard.cali is down',
    ],
  ],
  [
    'a device without address',
    { kernel: kernel({ addresses: [] }) },
    ['wireguard.cali address: it has none: a loose reverse-path filter drops what comes in'],
  ],
  [
    'an MTU that does not fit',
    { kernel: kernel({ link: { ...link(), mtu: 1480 } }) },
    ["wireguard.cali MTU: 1480 does not fit into the underlay's 1500 less 60"],
  ],
  [
    'a strict filter that does not look at marks',
    {
      reversePath: new Map([
        ['all', { filter: 0, validMark: 0 }],
        ['eth0', { filter: 1, validMark: 0 }],
        ['wireguard.cali', { filter: 2, validMark: 0 }],
      ]),
    },
    [
      'src_valid_mark: the reverse-path filter is strict on eth0 and does not look at marks: packets are lost while a pair turns',
    ],
  ],
  ['no nft', { firewall: 'nft is not installed' }, ['nft: nft is not installed']],
  ['no API server', { api: 'no answer' }, ['API server: no answer']],
  ['no own Node', { api: { server: 'x', announced: undefined } }, ['own Node: there is no Node node-1']],
  [
    'another key published than the kernel has',
    { api: { server: 'x', announced: { 4: keyOf(5), 6: undefined } } },
    ['published key IPv4: the Node carries another than the kernel has'],
  ],
  [
    'a key file that is open to others',
    { keyFile: { fault: 'keys.json is open to others' } },
    ['key file: keys.json is open to others'],
  ],
  [
    'an agent that does not run',
    { snapshot: snapshot({ time: ago(300) }) },
    ['agent: it has written nothing for 300 s'],
  ],
  ['a clock that went back', { snapshot: snapshot({ time: ago(-60) }) }, ['clock: the agent wrote 60 s in the future']],
  ['no agent at all', { snapshot: 'status.json is not there' }, ['agent: status.json is not there']],
  [
    'Felix with its own WireGuard',
    { felixRuns: true },
    ['Felix: runs on this node with its own WireGuard not switched off: it deletes our device'],
  ],
])('%s', (_, changes, expected) => {
  expect(failures(changes)).toEqual(expected)
})

test('says where keys are that are in no file', () => {
  const check = diagnose(findings({ keyFile: 'in kernel' })).find(({ name }) => name === 'key file')
  expect(check).toMatchObject({ result: 'ok', found: expect.stringContaining('in the kernel alone') })
})

test('a peer that cannot be reached names the endpoint that must be let through', () => {
  const reason = 'no handshake yet: is UDP to its WireGuard port blocked?'
  const waiting = peer(2, { phase: 'accepting', since: ago(60), reason })
  const routes = new Map(kernelFamily().routes).set(1, [])
  const checks = diagnose(
    findings({ snapshot: snapshot({ families: [family4({ peers: [waiting] })] }), kernel: kernel({ routes }) }),
  )
  expect(checks.find(({ name }) => name === 'peer node-2 IPv4')).toEqual({
    name: 'peer node-2 IPv4',
    result: 'fail',
    found: `in clear: ${reason}`,
    remedy: 'let UDP through to 10.200.0.2:51820 and back, in every firewall and security group between the two',
  } satisfies Check)
})

test('everything that fails says what to do', () => {
  const broken = findings({
    ...{
      snapshot: snapshot({ time: ago(300) }),
      kernel: kernel({ link: undefined, device: undefined }),
      firewall: 'no',
    },
    ...{ api: 'no', keyFile: { fault: 'no' }, felixRuns: true, mayAdminister: false },
  })
  for (const { result, remedy } of diagnose(broken)) expect(result === 'ok' || result === 'skip').toBe(remedy === '')
})

function link() {
  const found = kernelFamily().link
  if (!found) throw new Error('missing')
  return found
}
