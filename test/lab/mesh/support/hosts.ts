import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'
import { nodeProgram } from '#src/lab/node-program.ts'
import { API_PORT } from '#src/lab/plan.ts'
import { must } from '#src/lab/run.ts'
import type { LabFiles } from '#src/lab/state.ts'
import { familyOf, formatEndpoint, parseAddress } from '#wg/ip.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit } from './profile.ts'
import { onNode } from './with-mesh.ts'

const PORT = 7_080
const RELAY = fileURLToPath(new URL('../../../../src/lab/relay.ts', import.meta.url))
/** The fifth of Felix's default range. */
export const HOST_TABLE = 5

/** What is lost between nodes' own addresses, of datagrams and of one connection each, all of which are answered. */
export interface HostReport {
  readonly sent: number
  /** Each by whom it was sent to, and how, with the error of a send that failed. */
  readonly lost: readonly string[]
  /** Connections that broke or fell silent, each with its reason. */
  readonly broken: readonly string[]
  /** Where datagrams were seen to come from, by whom they were sent to. */
  readonly sources: readonly string[]
}

/**
 * Sends from no address in particular, as most programs do: which one it is, is the kernel's choice. Every second datagram
 * is of a socket that was connected at the beginning, for which the kernel looks for a way once. Answers everybody
 * until its input ends: whoever has heard all of its own answers may still be asked by others.
 */
const PROBE = `
  const { createSocket } = require('node:dgram')
  const { createServer, connect } = require('node:net')
  const targets = JSON.parse(process.argv[1])
  const sources = new Set()
  const answer = type => {
    const socket = createSocket(type === 'udp6' ? { type, ipv6Only: true } : { type })
    socket.on('message', (text, from) => { sources.add(from.address); socket.send(text, from.port, from.address) })
    socket.bind(${PORT})
  }
  answer('udp4'); answer('udp6')
  createServer(socket => socket.on('error', () => {}).pipe(socket)).listen(${PORT}, '::', () => process.stdout.write('ready\\n'))
  let sent = 0, sending = false
  const open = new Set()
  const refused = new Map()
  const noted = text => error => { if (error) refused.set(text, error.code) }
  const streams = []
  const begin = () => {
    sending = true
    const sockets = { 4: createSocket('udp4'), 6: createSocket('udp6') }
    for (const socket of Object.values(sockets)) socket.on('message', text => open.delete(String(text))).bind()
    for (const { address, family } of targets) {
      const stream = { to: address, asked: 0, answered: 0, failed: undefined }
      const socket = connect(${PORT}, address).on('error', error => { stream.failed = error.code })
      socket.on('data', bytes => { stream.answered += bytes.length })
      streams.push(stream)
      const connected = createSocket('udp' + family).on('error', () => {}).on('message', text => open.delete(String(text)))
      let ready = false
      connected.connect(${PORT}, address, () => { ready = true })
      setInterval(() => {
        if (!sending || !ready) return
        const isConnected = stream.asked % 8 === 0
        const text = address + (isConnected ? ' by a connected socket ' : ' ') + sent++
        open.add(text)
        if (isConnected) connected.send(text, noted(text))
        else sockets[family].send(text, ${PORT}, address, noted(text))
        stream.asked += 4
        socket.write('ping')
      }, 20)
    }
  }
  let told = ''
  process.stdin.on('end', () => process.exit()).on('data', bytes => {
    told += bytes
    if (streams.length === 0) return begin()
    if (!sending || !told.includes('enough')) return
    sending = false
    const given = Date.now() + 10_000
    const tell = () => {
      const hurt = streams.filter(({ failed, asked, answered }) => failed || asked !== answered)
      if (Date.now() < given && (open.size > 0 || hurt.length > 0)) return setTimeout(tell, 50)
      const broken = hurt.map(({ to, failed, asked, answered }) => to + ': ' + (failed ?? answered + ' of ' + asked))
      process.stdout.write(JSON.stringify({ sent, lost: [...open].map(text => [text, refused.get(text)].filter(Boolean).join(': ')), broken, sources: [...sources] }) + '\\n')
    }
    tell()
  })`

/** Traffic between the nodes' own addresses, all to all, while something is done. */
export async function betweenHosts(lab: Lab, work: () => Promise<void>): Promise<HostReport> {
  const probes = lab.nodes.map(node => startProbe(lab, node))
  try {
    await Promise.all(probes.map(({ ready }) => ready))
    for (const { child } of probes) child.stdin?.write('begin')
    await work()
    for (const { child } of probes) child.stdin?.write('enough')
    return sumOf(await Promise.all(probes.map(({ report }) => report)))
  } finally {
    for (const { child } of probes) child.stdin?.end()
  }
}

function sumOf(reports: readonly HostReport[]): HostReport {
  return {
    sent: reports.reduce((all, { sent }) => all + sent, 0),
    lost: reports.flatMap(({ lost }) => lost),
    broken: reports.flatMap(({ broken }) => broken),
    sources: [...new Set(reports.flatMap(({ sources }) => sources))].toSorted(),
  }
}

interface Probe {
  readonly child: ChildProcess
  readonly ready: Promise<unknown>
  readonly report: Promise<HostReport>
}

function startProbe(lab: Lab, node: LabNode): Probe {
  const targets = lab.nodes
    .filter(other => other !== node)
    .flatMap(({ addresses }) => addresses.map(address => ({ address, family: familyOf(parseAddress(address)) })))
  const [program = '', ...argv] = inNamespace(node.namespace, [nodeProgram(), '-e', PROBE, JSON.stringify(targets)])
  const child = spawn(program, argv, { stdio: ['pipe', 'pipe', 'inherit'] })
  let text = ''
  const line = (index: number) =>
    new Promise<string>((resolve, reject) => {
      child.stdout?.on('data', () => {
        const lines = text.split('\n')
        if (lines.length > index + 1) resolve(lines[index] ?? '')
      })
      child
        .on('error', reject)
        .on('close', status => reject(new Error(`the probe of ${node.name} ended with ${status}`)))
    })
  child.stdout?.on('data', bytes => {
    text += String(bytes)
  })
  const ready = line(0)
  const report = line(1).then(told => JSON.parse(told) as HostReport)
  // A probe that fails is told of when it is asked for.
  report.catch(() => {})
  ready.catch(() => {})
  return { child, ready, report }
}

/** Turns host encryption on or off and returns when every pair of nodes does so, in every family. */
export async function encryptHosts(lab: Lab, on: boolean): Promise<void> {
  await lab.patchFelix({ wireguardHostEncryptionEnabled: on })
  await (on ? untilHostsEncrypted(lab) : untilHostsClear(lab))
}

export const untilHostsEncrypted = (lab: Lab, among: readonly LabNode[] = lab.nodes): Promise<unknown> =>
  waitFor(
    async () => {
      for (const node of among) {
        const steered = await steeredHosts(node)
        const others = among.filter(other => other !== node)
        const missing = others.flatMap(({ addresses }) => addresses.filter(address => !steered.includes(address)))
        if (missing.length > 0) throw new Error(`${node.name} sends to ${missing.join(', ')} in clear`)
      }
      return true
    },
    limit(60_000),
    'every node to send to every other one by the tunnel',
  )

const untilHostsClear = (lab: Lab): Promise<unknown> =>
  waitFor(
    async () => {
      for (const node of lab.nodes) {
        const steered = await steeredHosts(node)
        if (steered.length > 0) throw new Error(`${node.name} sends to ${steered.join(', ')} by the tunnel`)
      }
      return true
    },
    limit(30_000),
    'every node to send in clear again',
  )

/** Other nodes' addresses that this one sends to by the tunnel. */
export async function steeredHosts(node: LabNode): Promise<readonly string[]> {
  const text = await onNode(
    node,
    `for family in 4 6; do ip -$family rule | grep -q "iif lo.* lookup ${HOST_TABLE}" && ip -$family route show table ${HOST_TABLE} || true; done`,
  )
  return text.split('\n').flatMap(line => (line === '' ? [] : (line.split(' ', 1)[0] ?? '')))
}

/**
 * Has the API server on a node: the others get to it by the address of a service, as kube-proxy would lead them, and it is
 * that node which they speak with.
 */
export async function serveApiOn(lab: Lab, server: LabNode, files: Pick<LabFiles, 'root'>): Promise<void> {
  const [service] = lab.plan.switchAddresses
  const [address] = server.addresses
  if (service === undefined || address === undefined) throw new Error('the lab has no addresses')
  const to = formatEndpoint({ address: service, port: API_PORT })
  const at = formatEndpoint({ address: parseAddress(address), port: API_PORT })
  const relay = `"$0" "${RELAY}" "${at}" "${to}" "${files.root}/relay-on-node.json" </dev/null >/dev/null 2>&1 &`
  await must(inNamespace(server.namespace, ['sh', '-c', relay, nodeProgram()]))
  await waitFor(() => existsSync(`${files.root}/relay-on-node.json`), limit(20_000), 'the relay to listen')
  const ip = familyOf(service) === 4 ? 'ip' : 'ip6'
  const rules = `
    table inet test_service {
      chain out {
        type nat hook output priority -100
        ${ip} daddr ${service} tcp dport ${API_PORT} dnat ${ip} to ${at}
      }
    }`
  for (const node of lab.nodes)
    if (node !== server) await must(inNamespace(node.namespace, ['nft', '-f', '-']), { input: rules })
}

/** What a reboot leaves of a node's kernel: nothing. @param forget its key as well */
export async function losePower(node: LabNode, { forget = false } = {}): Promise<void> {
  await node.agent.kill('SIGKILL')
  await onNode(
    node,
    [
      'for device in wireguard.cali wg-v6.cali; do ip link del $device || true; done',
      'nft delete table inet podveil || true',
      'nft delete table arp podveil || true',
      'for family in 4 6; do',
      '  for priority in 98 99 100; do while ip -$family rule del pref $priority 2>/dev/null; do :; done; done',
      `  for table in 1 2 3 4 ${HOST_TABLE}; do ip -$family route flush table $table 2>/dev/null || true; done`,
      'done',
      ...(forget ? [`rm -rf ${node.agent.stateDirectory}/*`] : []),
    ].join('\n'),
  )
}
