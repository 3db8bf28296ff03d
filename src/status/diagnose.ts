import { DEFAULTS } from '#src/cluster/felix-parameters.ts'
import { OVERHEAD } from '#src/mesh/marks.ts'
import { podMtu, UNCLAMPED_REMEDY, unclamped } from '#src/mesh/pod-mtu.ts'
import type { Findings, LinkFinding } from './findings.ts'
import type { KernelFamily } from './node-kernel.ts'
import { hasMeshRule, nodeStatus } from './node-status.ts'
import { type FamilySnapshot, type NodeSnapshot, STALE } from './snapshot.ts'

/** One thing that was looked at. */
export interface Check {
  readonly name: string
  /** `skip`: it could not be looked at, or does not apply. */
  readonly result: 'ok' | 'warn' | 'fail' | 'skip'
  readonly found: string
  /** What to do; empty when there is nothing to do. */
  readonly remedy: string
}

/** Clocks of nodes are never the same; more than this is a clock that went back. */
const CLOCK_SLACK = 5_000

const ok = (name: string, found: string): Check => ({ name, result: 'ok', found, remedy: '' })
const skip = (name: string, found: string): Check => ({ name, result: 'skip', found, remedy: '' })
const warn = (name: string, found: string, remedy: string): Check => ({ name, result: 'warn', found, remedy })
const fail = (name: string, found: string, remedy: string): Check => ({ name, result: 'fail', found, remedy })

/** All checks of docs/troubleshooting, in the order in which one thing needs the other. Pure. */
export function diagnose(findings: Findings): Check[] {
  const { snapshot, kernel } = findings
  const checks = [...machine(findings), agent(findings), ...cluster(findings), keyFile(findings)]
  if (typeof snapshot === 'string' || typeof kernel === 'string') return checks
  const families = snapshot.families.filter(({ enabled }) => enabled)
  if (families.length === 0) return [...checks, skip('mesh', 'encryption is off on this node')]
  return [
    ...checks,
    ...families.flatMap(family => device(family, kernel.families[family.family], findings)),
    ...reversePath(findings, families),
    ...others(findings, families),
    ...peers(findings, snapshot),
  ]
}

export const isHealthy = (checks: readonly Check[]): boolean => checks.every(({ result }) => result !== 'fail')

function machine({ noWireGuard, kernel, mayAdminister, firewall }: Findings): Check[] {
  return [
    mayAdminister
      ? ok('privileges', 'CAP_NET_ADMIN')
      : fail('privileges', 'no CAP_NET_ADMIN: little can be seen', 'run as root, in the network namespace of the node'),
    typeof kernel === 'string'
      ? fail('WireGuard', `the kernel cannot be read: ${kernel}`, 'run as root, in the network namespace of the node')
      : kernel.kind
        ? ok('WireGuard', `of the ${kernel.kind}`)
        : fail(
            'WireGuard',
            noWireGuard ?? 'there is none',
            'install the module wireguard, or wireguard-go with /dev/net/tun',
          ),
    typeof firewall === 'string'
      ? fail(
          'nft',
          firewall,
          'install nftables: it holds the guard, and marks what a strict reverse-path filter must let in',
        )
      : ok('nft', firewall ? 'works, and table inet podveil is there' : 'works'),
  ]
}

function agent({ snapshot, now }: Findings): Check {
  if (typeof snapshot === 'string')
    return fail('agent', snapshot, 'start the agent on this node, or name its --state-dir')
  const age = now - Date.parse(snapshot.time)
  const seconds = Math.round(age / 1000)
  if (age < -CLOCK_SLACK)
    return fail(
      'clock',
      `the agent wrote ${-seconds} s in the future`,
      "set the clock: WireGuard's handshakes are refused after it goes back",
    )
  if (age > STALE)
    return fail(
      'agent',
      `it has written nothing for ${seconds} s`,
      'look whether the agent runs, and at its log; the kernel keeps what was set',
    )
  if (snapshot.troubles.length > 0)
    return fail('agent', snapshot.troubles.join('; '), 'the sentence says what it waits for')
  if (snapshot.refusedSettings.length > 0)
    return fail(
      'configuration',
      snapshot.refusedSettings.join('; '),
      'correct the value: the last good one is used meanwhile',
    )
  return ok('agent', `podveil ${snapshot.podveil} on ${snapshot.node} wrote ${seconds} s ago`)
}

function cluster({ api, snapshot }: Findings): Check[] {
  if (typeof api === 'string')
    return [
      fail(
        'API server',
        api,
        'give --kubeconfig, or mend the way to the API server: without it nothing new is learned',
      ),
    ]
  const reachable = ok('API server', `${api.server} answers`)
  if (typeof snapshot === 'string') return [reachable]
  if (!api.announced)
    return [
      reachable,
      fail(
        'own Node',
        `there is no Node ${snapshot.node}`,
        'set --node-name (NODE_NAME) to the name under which the kubelet registers',
      ),
    ]
  const { announced } = api
  return [
    reachable,
    ...snapshot.families
      .filter(({ enabled, device }) => enabled && device)
      .map(({ family, device }) => {
        const name = `published key IPv${family}`
        if (announced[family] === undefined)
          return fail(
            name,
            'the Node carries none',
            'the agent publishes it when it can write its Node: look at RBAC, the admission policy and its log',
          )
        return announced[family] === device?.publicKey
          ? ok(name, 'is that of the kernel')
          : fail(
              name,
              'the Node carries another than the kernel has',
              'find out who writes the Node: the agent sets it back',
            )
      }),
  ]
}

const KEY_FILES = {
  loaded: 'private and whole',
  absent: 'none yet: it is made when encryption is turned on',
  'in kernel': 'none: the keys are in the kernel alone (keyStorage: memory)',
} as const

function keyFile({ keyFile }: Findings): Check {
  if (typeof keyFile === 'object') return fail('key file', keyFile.fault, 'the sentence says how')
  if (keyFile === 'foreign')
    return warn(
      'key file',
      'is of another machine or Node',
      'nothing: the agent makes new keys; it is what a cloned disk looks like',
    )
  return ok('key file', KEY_FILES[keyFile])
}

function device(family: FamilySnapshot, kernel: KernelFamily, { links, boundPorts, firewall }: Findings): Check[] {
  const { interfaceName: name, tables, rulePriority } = family
  const agentDoes = 'the agent repairs this within a second: if it does not, look at its log'
  const { link, device, rules, routes, addresses } = kernel
  if (!link || !device) {
    const port = family.device?.port
    const taken = port !== undefined && boundPorts.has(port) ? `; UDP port ${port} is in use by something else` : ''
    return [
      fail(
        name,
        `is not there${taken}`,
        taken ? 'end what uses the port, or set another wireguardListeningPort' : agentDoes,
      ),
    ]
  }
  const up = links.filter(one => one.up && one.name !== name)
  const underlay = Math.min(...up.filter(isUnderlay).map(({ mtu }) => mtu))
  const pods = podMtu(up, DEFAULTS.mtuIfacePattern)
  const stalls = unclamped(pods, link.mtu, firewall === true)
  const room = underlay - OVERHEAD[family.family]
  const has = (priority: number, table: number) =>
    rules.some(rule => rule.priority === priority && rule.table === table)
  return [
    link.up ? ok(name, 'is up') : fail(name, 'is down', agentDoes),
    addresses.length > 0
      ? ok(`${name} address`, addresses.join(' '))
      : fail(`${name} address`, 'it has none: a loose reverse-path filter drops what comes in', agentDoes),
    hasMeshRule(family, kernel)
      ? ok(`rule ${rulePriority}`, `leads to table ${tables.mesh}`)
      : fail(
          `rule ${rulePriority}`,
          `no rule leads to table ${tables.mesh}: IPv${family.family} goes in clear`,
          agentDoes,
        ),
    has(rulePriority + 1, tables.nodes)
      ? ok(`rule ${rulePriority + 1}`, `leads pods to table ${tables.nodes}`)
      : fail(
          `rule ${rulePriority + 1}`,
          `no rule leads pods to table ${tables.nodes}: pods to remote nodes go in clear`,
          agentDoes,
        ),
    has(rulePriority - 1, tables.device)
      ? ok(`rule ${rulePriority - 1}`, `leads the hello to table ${tables.device}`)
      : fail(
          `rule ${rulePriority - 1}`,
          `no rule leads the hello to table ${tables.device}: pairs cannot prove themselves`,
          agentDoes,
        ),
    (routes.get(tables.mesh) ?? []).length > 0
      ? ok(`table ${tables.mesh}`, `${routes.get(tables.mesh)?.length} routes`)
      : fail(`table ${tables.mesh}`, 'is empty: nothing is steered', agentDoes),
    device.listenPort === (family.device?.port ?? device.listenPort)
      ? ok(`UDP port ${device.listenPort}`, 'listens; let it through every firewall between the nodes')
      : fail(`UDP port ${device.listenPort}`, `is not the one that is published, ${family.device?.port}`, agentDoes),
    !Number.isFinite(underlay) || link.mtu <= room
      ? ok(
          `${name} MTU`,
          `${link.mtu}${Number.isFinite(underlay) ? ` over ${underlay}` : ''}${pods > link.mtu && stalls === undefined ? `; pods have ${pods}: TCP is clamped, larger UDP is fragmented` : ''}`,
        )
      : fail(
          `${name} MTU`,
          `${link.mtu} does not fit into the underlay's ${underlay} less ${OVERHEAD[family.family]}`,
          `set wireguardMTU${family.family === 6 ? 'V6' : ''} to 0 or at most ${room}`,
        ),
    ...(stalls === undefined ? [] : [warn(`${name} and pods`, stalls, UNCLAMPED_REMEDY)]),
  ]
}

/** By the names that mtuIfacePattern has by default. */
const isUnderlay = ({ name }: LinkFinding): boolean => DEFAULTS.mtuIfacePattern.test(name)

/** The filter of a device is the stricter one of its own and that of all; loose is 2, and wins over strict. */
function reversePath({ reversePath }: Findings, families: readonly FamilySnapshot[]): Check[] {
  const own = families.find(({ family }) => family === 4)?.interfaceName
  if (own === undefined) return []
  const all = reversePath.get('all') ?? { filter: 0, validMark: 0 }
  const effective = (name: string) => Math.max(all.filter, reversePath.get(name)?.filter ?? 0)
  const strict = [...reversePath.keys()].filter(
    name => !['all', 'default', 'lo', own].includes(name) && effective(name) === 1,
  )
  const unmarked = strict.filter(name => all.validMark === 0 && reversePath.get(name)?.validMark === 0)
  return [
    effective(own) === 1
      ? fail(
          'rp_filter',
          `is strict on ${own}: what comes out of the tunnel is dropped while a pair turns`,
          `sysctl -w net.ipv4.conf.${own.replaceAll('.', '/')}.rp_filter=2`,
        )
      : ok('rp_filter', `${effective(own) === 2 ? 'loose' : 'off'} on ${own}`),
    unmarked.length === 0
      ? ok(
          'src_valid_mark',
          strict.length === 0 ? 'not needed: no strict reverse-path filter' : `set for ${strict.join(', ')}`,
        )
      : fail(
          'src_valid_mark',
          `the reverse-path filter is strict on ${unmarked.join(', ')} and does not look at marks: packets are lost while a pair turns`,
          'sysctl -w net.ipv4.conf.all.src_valid_mark=1; the agent sets it where it may write /proc/sys',
        ),
  ]
}

function others({ otherDevices, felixRuns }: Findings, families: readonly FamilySnapshot[]): Check[] {
  const marks = new Set(families.map(({ mark }) => mark))
  const alike = otherDevices.filter(({ fwmark }) => marks.has(fwmark))
  return [
    felixRuns
      ? fail(
          'Felix',
          'runs on this node with its own WireGuard not switched off: it deletes our device',
          'set FELIX_WIREGUARDENABLED=false (and FELIX_WIREGUARDENABLEDV6=false) in the environment of calico-node',
        )
      : ok('Felix', 'does not manage WireGuard here'),
    ...alike.map(({ name, fwmark }) =>
      warn(
        name,
        `another WireGuard device has our mark 0x${fwmark.toString(16)}: its packets pass our rule`,
        'give it another mark, or remove it if Felix left it behind',
      ),
    ),
  ]
}

function peers(findings: Findings, snapshot: NodeSnapshot): Check[] {
  const kernel = typeof findings.kernel === 'string' ? undefined : findings.kernel
  const { pairs } = nodeStatus(snapshot, kernel, findings.now)
  const bad = pairs
    .filter(({ state }) => state === 'in clear' || state === 'not answering' || state === 'unknown')
    .map(({ node, family, state, why, disagreements, endpoint }) =>
      fail(
        `peer ${node} IPv${family}`,
        `${state}: ${disagreements.length > 0 ? disagreements.join(', ') : why}`,
        remedyOf(why, endpoint),
      ),
    )
  const refused = snapshot.families.flatMap(({ family, refused }) =>
    refused.map(({ node, claim }) =>
      fail(
        `claim of ${node} IPv${family}`,
        claim,
        'find out who writes that Node; its own agent publishes what is right',
      ),
    ),
  )
  return [...(bad.length > 0 ? bad : [ok('peers', `all of ${pairs.length} pairs are as they should be`)]), ...refused]
}

function remedyOf(why: string, endpoint: string | null): string {
  if (/blocked|no hello/.test(why))
    return `let UDP through to ${endpoint ?? 'its WireGuard port'} and back, in every firewall and security group between the two`
  if (why.includes('announces no WireGuard key'))
    return 'look at that node: does its agent run, and is encryption on for it?'
  return 'podveil status on that node says what it sees'
}
