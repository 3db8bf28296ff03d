// Writes docs/configuration.md from what the code knows: node_modules/.bin/node scripts/generate-configuration-doc.ts
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command, type Option } from 'commander'
import { parse } from 'yaml'
import { DEFAULTS, PARAMETERS, type ParameterKey, parameterKeys, parameterName } from '#src/cluster/felix-parameters.ts'
import { registerAgent } from '#src/commands/agent.ts'
import { PODVEIL_DEFAULTS } from '#src/mesh/guard.ts'

const pathOf = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url))

export const CONFIGURATION_DOC = pathOf('docs/configuration.md')
const PODVEIL_CRD = pathOf('manifests/crds/podveil/podveilconfigurations.yaml')

/** What a field does. */
const EFFECTS: Readonly<Record<ParameterKey, string>> = {
  enabled4: 'IPv4 pod traffic between nodes is encrypted',
  enabled6: 'IPv6 pod traffic between nodes is encrypted; needs `ipv6Support`',
  interfaceName4: 'name of the IPv4 device. A change loses nothing: traffic goes by the spare device meanwhile',
  interfaceName6: 'name of the IPv6 device; as above',
  listeningPort4:
    'UDP port of the IPv4 device, published for other Podveil nodes; Felix dials its own port. A change loses nothing between Podveil nodes: traffic goes by the spare device meanwhile',
  listeningPort6: 'UDP port of the IPv6 device; as above',
  mtu4: 'MTU of the IPv4 device in bytes; 0: the smallest of the matching host interfaces less 60',
  mtu6: 'MTU of the IPv6 device in bytes; 0: the smallest of the matching host interfaces less 80, at least 1280',
  hostEncryptionEnabled:
    'what a node itself sends to other nodes that have it on goes by the tunnel too, except what the agent says to the API server; it needs a fifth table of `routeTableRanges`',
  routingRulePriority:
    'priority of the rule that Felix has as well; two of our own go at one less and one more, so leave both free',
  persistentKeepalive: 'keepalive of every peer, rounded up to whole seconds; 0 is off',
  threadingEnabled:
    'threaded NAPI of the kernel’s own device. Refused, and turned off where something else has turned it on, on kernels where it can leave a peer deaf (CVE-2026-52945)',
  routeSource:
    "what says which pod addresses are on which node. Unset: Calico's IPAM where there is an IPAMBlock, else the Nodes' pod CIDRs where there are any, else the Pods. `CalicoIPAM` without a block is the pod CIDRs (host-local IPAM)",
  routeTableRanges: 'the four lowest free tables of these are used; the first is the one that Felix would take',
  routeTableRange: 'as `routeTableRanges`, which beats it; one range',
  routeSyncDisabled:
    'no pod prefix is steered into the tunnel: devices, peers and rules stay, and nothing is encrypted. Refused while the guard is on enforce',
  deviceRouteProtocol: 'rtnetlink protocol number of our routes',
  routeRefreshInterval:
    'how often the kernel is read anew, give or take a tenth, for what no event tells (peers, sysctls); 0 is never',
  markMask: "bits that may be used; the sixth lowest, or the highest of fewer, marks WireGuard's own packets",
  nftablesMarkMask:
    'as `iptablesMarkMask`, whatever Felix makes its rules with: the one that is set counts, and of two the bits that both have',
  mtuIfacePattern:
    'which interfaces of the host count for the automatic MTU; a group with a repetition or alternatives inside is not repeated',
  ipv6Support: 'false turns IPv6 off whatever `wireguardEnabledV6` says',
  logSeverity: 'the level of the log; unset, it is `--log-level`',
  wireguardMetricsEnabled: "the four metrics that have Felix's names",
}

/** What the parser of a parameter accepts, in the words with which it refuses. */
function accepted(key: ParameterKey): string {
  for (const nonsense of ['(', { min: 0, max: 0 }]) {
    try {
      PARAMETERS[key].parse(nonsense, 'spec')
    } catch (error) {
      const words = error instanceof Error ? error.message : ''
      if (words.includes('neither true nor false')) return 'true or false'
      const [, what] = /(?:^|which )is not (?:an? )?(.+)$/.exec(words) ?? []
      if (what !== undefined) return what.replace(/^interface name: /, '')
    }
  }
  throw new Error(`nothing says what ${key} accepts`)
}

function defaultOf(key: ParameterKey): string {
  const value: unknown = DEFAULTS[key]
  if (value instanceof RegExp) return code(value.source)
  if (key === 'markMask') return code(`0x${Number(value).toString(16)}`)
  if (key === 'routeTableRanges') return code('1-250')
  if (value === undefined || Array.isArray(value)) return 'unset'
  if (key === 'routeRefreshInterval' || key === 'persistentKeepalive') return code(`${String(value)}s`)
  return code(String(value))
}

const code = (text: string): string => `\`${text.replaceAll('|', '\\|')}\``

const row = (...cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`

const head = (...cells: readonly string[]): string => row(...cells) + row(...cells.map(() => '---'))

function felixTable(): string {
  const rows = parameterKeys.map(key => {
    const environment = code(`FELIX_${parameterName(key).toUpperCase()}`)
    const accepts = accepted(key).replaceAll('|', '\\|')
    return row(code(PARAMETERS[key].field), environment, accepts, defaultOf(key), EFFECTS[key])
  })
  return head('field', 'environment', 'accepts', 'default', 'effect') + rows.join('')
}

function agentTable(): string {
  const program = new Command()
  registerAgent(program)
  const agent = program.commands.find(command => command.name() === 'agent')
  if (!agent) throw new Error('there is no command agent')
  const rows = agent.options.map(option =>
    row(code(option.flags), option.envVar ? code(option.envVar) : '', defaultOfOption(option), effectOf(option)),
  )
  return head('flag', 'environment', 'default', 'effect') + rows.join('')
}

function defaultOfOption({ defaultValue, mandatory }: Option): string {
  if (mandatory && defaultValue === undefined) return 'required'
  return defaultValue === undefined ? '' : code(String(defaultValue))
}

const effectOf = ({ description, argChoices }: Option): string =>
  argChoices ? `${description}: ${argChoices.map(code).join(', ')}` : description

interface Field {
  readonly description?: string
  readonly enum?: readonly string[]
}

/** @throws Error for a field that nothing heeds */
function podveilTable(): string {
  const crd = parse(readFileSync(PODVEIL_CRD, 'utf8')) as {
    spec: {
      versions: { schema: { openAPIV3Schema: { properties: { spec: { properties: Record<string, Field> } } } } }[]
    }
  }
  const fields = crd.spec.versions[0]?.schema.openAPIV3Schema.properties.spec.properties ?? {}
  const rows = Object.entries(fields).map(([field, { description = '', enum: words }]) => {
    if (!Object.hasOwn(PODVEIL_DEFAULTS, field)) throw new Error(`nothing heeds ${field}`)
    return row(code(field), words ? words.map(code).join(', ') : '', description.trim().replaceAll('|', '\\|'))
  })
  return head('field', 'one of', 'effect') + rows.join('')
}

export function configurationDoc(): string {
  return `# Configuration

<!-- Made by scripts/generate-configuration-doc.ts from the code; a test fails when the two differ. -->

Everything but the agent's own flags is applied live: nothing has to be restarted.

## The agent

A flag beats its variable in the environment.

${agentTable()}
Also read from the environment:

| variable | effect |
| --- | --- |
| \`FELIX_*\` | settings of this node, see below; they beat every resource |
| \`KUBERNETES_SERVICE_HOST\`, \`KUBERNETES_SERVICE_PORT\` | the API server, in a pod |
| \`HTTPS_PROXY\`, \`NO_PROXY\` | with a kubeconfig: the way to the API server |
| \`PODVEIL_NATIVE\` | path of the socket addon, where it is not beside the program |
| \`PODVEIL_WIREGUARD_GO\` | the program that makes a device in user space, \`wireguard-go\` by default; called with the device's name, it must return when the device is there and leave a process that outlives it |
| \`PODVEIL_DEBUG\` | anything: a command that fails prints its stack too |

## FelixConfiguration

\`crd.projectcalico.org/v1\`, Calico's own. Weakest first: Felix's default, \`default\`, the oldest whose \`nodeSelector\` selects the
Node by its labels, \`node.<name of the node>\`, the environment of the agent. In a resource, an annotation \`config.projectcalico.org/<name>\` beats the field of that name.
An empty value is unset; \`none\` is the zero value. Durations are \`25s\` or \`1m30s\` in a resource, and seconds elsewhere.

A value that cannot be used is refused, with a line in the log and an Event \`ConfigurationRefused\`; the last good value stays,
or at first the default.

${felixTable()}
Any other field of Calico's is ignored.

## PodveilConfiguration

\`podveil.io/v1alpha1\`: \`default\`, and \`node.<name of the node>\`, which beats it field by field. None has to be there.

${podveilTable()}
Without PodveilConfiguration the guard is on \`${PODVEIL_DEFAULTS.guard}\`, and the lists are empty.
`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(CONFIGURATION_DOC, configurationDoc())
