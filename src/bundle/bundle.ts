import { execFile } from 'node:child_process'
import { hostname, release } from 'node:os'
import { promisify } from 'node:util'
import { messageOf } from '#src/cluster/hostile.ts'
import type { Check } from '#src/status/diagnose.ts'
import { diagnoseView } from '#src/status/diagnose-view.ts'
import { plain } from '#src/status/format.ts'
import { nodeStatus } from '#src/status/node-status.ts'
import { nodeView } from '#src/status/node-view.ts'
import { namesByKey, showView } from '#src/status/show-view.ts'
import type { NodeSnapshot } from '#src/status/snapshot.ts'
import { openApi } from '#src/status/sources/cluster.ts'
import { lookAtNode, type NodeLook } from '#src/status/sources/node.ts'
import { VERSION } from '#src/version.ts'
import { type Endpoint, formatEndpoint } from '#wg/ip.ts'
import { TABLE } from '#wg/nftables/ruleset.ts'
import { type BundleFile, writeArchive } from './archive.ts'
import { redact } from './redact.ts'

const run = promisify(execFile)

/** What a person would type on the node. None of them prints a private key. */
const COMMANDS: readonly (readonly [name: string, ...argv: string[]])[] = [
  ['ip-link.txt', 'ip', '-details', '-statistics', 'link'],
  ['ip-address.txt', 'ip', 'address'],
  ['ip-rule.txt', 'ip', 'rule'],
  ['ip-rule-6.txt', 'ip', '-6', 'rule'],
  ['ip-route.txt', 'ip', 'route', 'show', 'table', 'all'],
  ['ip-route-6.txt', 'ip', '-6', 'route', 'show', 'table', 'all'],
  ['nft.txt', 'nft', 'list', 'table', 'inet', TABLE],
  [
    'sysctl.txt',
    'sysctl',
    '-e',
    'net.ipv4.ip_forward',
    'net.ipv6.conf.all.forwarding',
    'net.ipv4.conf.all.rp_filter',
    'net.ipv4.conf.default.rp_filter',
    'net.ipv4.conf.all.src_valid_mark',
  ],
]

/** Of the API, beside the own Node. */
const RESOURCES: readonly (readonly [name: string, path: string])[] = [
  ['felixconfigurations.json', '/apis/crd.projectcalico.org/v1/felixconfigurations'],
  ['podveilconfigurations.json', '/apis/podveil.io/v1alpha1/podveilconfigurations'],
]

export interface BundleOptions {
  readonly path: string
  readonly stateDir: string
  readonly kubeconfig: string | undefined
  /** Where the agent serves them. */
  readonly metrics: Endpoint
  readonly checks: readonly Check[]
}

/** Writes a support archive of this node. What cannot be had is told in its place. @throws Error when it cannot be written */
export async function writeBundle(options: BundleOptions): Promise<readonly string[]> {
  const look = await lookAtNode(options.stateDir)
  const files = await collect(look, options)
  const known = publicKeysOf(look)
  const redacted = files.map(({ name, text }) => ({ name, text: redact(text, known) }))
  await writeArchive(options.path, `podveil-${look.snapshot?.node ?? hostname()}`, redacted)
  return redacted.map(({ name }) => name)
}

async function collect(look: NodeLook, { kubeconfig, metrics, checks }: BundleOptions): Promise<BundleFile[]> {
  const { snapshot, kernel, notes } = look
  const status = nodeView(nodeStatus(snapshot, kernel, Date.now(), notes), Date.now(), plain)
  const shown = ([4, 6] as const).flatMap(family =>
    kernel ? (showView(kernel.families[family], namesByKey(snapshot, family), Date.now(), plain) ?? []) : [],
  )
  const about = { podveil: VERSION, node: snapshot?.node, kernel: release(), nodejs: process.version, time: new Date() }
  const here = [
    { name: 'about.json', text: json(about) },
    { name: 'checks.txt', text: diagnoseView(checks, plain) },
    { name: 'status.txt', text: status },
    { name: 'status.json', text: json(snapshot ?? notes) },
    { name: 'show.txt', text: shown.join('\n\n') },
    { name: 'metrics.txt', text: await orReason(() => fetchText(`http://${formatEndpoint(metrics)}/metrics`)) },
  ]
  const commands = COMMANDS.map(async ([name, program = '', ...args]) => ({
    name,
    text: await orReason(async () => (await run(program, args, { maxBuffer: 64 << 20 })).stdout),
  }))
  return [...here, ...(await Promise.all(commands)), ...(await cluster(snapshot, kubeconfig))]
}

async function cluster(snapshot: NodeSnapshot | undefined, kubeconfig: string | undefined): Promise<BundleFile[]> {
  try {
    const client = await openApi(kubeconfig)
    try {
      const node = encodeURIComponent(snapshot?.node ?? hostname())
      const events = `/api/v1/namespaces/default/events?fieldSelector=${encodeURIComponent(`involvedObject.name=${snapshot?.node ?? ''}`)}`
      const paths = [...RESOURCES, ['node.json', `/api/v1/nodes/${node}`], ['events.json', events]] as const
      return await Promise.all(
        paths.map(async ([name, path]) => ({ name, text: await orReason(async () => json(await client.get(path))) })),
      )
    } finally {
      client.close()
    }
  } catch (error) {
    return [{ name: 'cluster.txt', text: messageOf(error) }]
  }
}

/** All that is public by its nature: what is published, and what the kernel tells of peers. */
function publicKeysOf({ snapshot, kernel }: NodeLook): Set<string> {
  const keys = new Set<string>()
  for (const { device, peers } of snapshot?.families ?? []) {
    if (device) keys.add(device.publicKey)
    for (const { publicKey, candidate } of peers)
      for (const key of [publicKey, candidate]) if (key !== null) keys.add(key)
  }
  for (const family of [4, 6] as const) {
    const device = kernel?.families[family].device
    if (device?.publicKey !== undefined) keys.add(device.publicKey)
    for (const key of device?.peers.keys() ?? []) keys.add(key)
  }
  return keys
}

async function fetchText(url: string): Promise<string> {
  return await (await fetch(url, { signal: AbortSignal.timeout(5_000) })).text()
}

async function orReason(learn: () => Promise<string>): Promise<string> {
  try {
    return await learn()
  } catch (error) {
    return `not to be had: ${messageOf(error)}\n`
  }
}

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`
