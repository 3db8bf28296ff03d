import type { Lab, LabNode } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'
import { nodeProgram } from '#src/lab/node-program.ts'
import { must, run } from '#src/lab/run.ts'
import { FAMILIES, type Family, familyOf, parseAddress } from '#wg/ip.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { type ProxyMode, proxyRules } from './kube-proxy.ts'
import { limit } from './profile.ts'

/** Where something listens, in pods and on nodes. */
export const PORT = 7_070
/** The same, of a kind that is masqueraded when a pod sends to it (natOutgoing). */
export const MASQUERADED_PORT = 7_071
/** The same, of a kind that leaves its node with the node's own address, whoever sends. */
export const TRANSLATED_PORT = 7_072
/** Leads to node 2's pod, from every address of every node. */
export const NODE_PORT = 30_080
/** The same to what listens on node 2 itself. */
export const HOST_NODE_PORT = 30_081

/** Addresses of services, none of which anybody has. */
export const SERVICES: Readonly<Record<Family, Readonly<Record<'host' | 'pod' | 'masqueraded', string>>>> = {
  4: { host: '10.96.0.10', pod: '10.96.0.11', masqueraded: '10.96.0.12' },
  6: { host: 'fd00:96::10', pod: 'fd00:96::11', masqueraded: 'fd00:96::12' },
}

const ANSWER = 'hello'

/** Answers every connection; ends with the lab, as all does that runs in its namespaces. */
const LISTEN = `
  const { createServer } = require('node:net')
  for (const port of [${PORT}, ${MASQUERADED_PORT}, ${TRANSLATED_PORT}])
    createServer(socket => socket.end('${ANSWER} ' + socket.remoteAddress)).on('error', () => process.exit(1)).listen(port, '::')`

/** Something that listens in every pod and on every node, and on every node what kube-proxy would have set up for it. */
export async function serveEverywhere(lab: Lab, mode: ProxyMode = 'nftables'): Promise<void> {
  const [, two] = lab.nodes
  if (!two) throw new Error('the services lead to node 2')
  for (const node of lab.nodes) {
    for (const namespace of [node.namespace, node.pod.namespace]) {
      const script = `"${nodeProgram()}" -e "$0" </dev/null >/dev/null 2>&1 &`
      await must(inNamespace(namespace, ['sh', '-c', script, LISTEN]))
    }
    await must(inNamespace(node.namespace, ['nft', '-f', '-']), { input: rulesOf(node, two, mode) })
  }
  const addresses = lab.nodes.flatMap(node => [node.addresses[0], node.pod.addresses[0]])
  const [one] = lab.nodes
  for (const address of addresses)
    await waitFor(
      async () => (await ask(one?.namespace ?? '', address ?? '', PORT)) !== undefined,
      limit(15_000),
      `${address} to listen`,
    )
}

/** Rules of kube-proxy, and of what translates addresses beside it. */
function rulesOf(node: LabNode, two: LabNode, mode: ProxyMode): string {
  const all = FAMILIES.flatMap(family => {
    const [self, host, pod] = [node.addresses, two.addresses, two.pod.addresses].map(all =>
      all.find(one => familyOf(parseAddress(one)) === family),
    )
    if (self === undefined || host === undefined || pod === undefined) return []
    const to = (address: string) => (family === 4 ? `${address}:${PORT}` : `[${address}]:${PORT}`)
    const service = SERVICES[family]
    const services = [
      { clusterIp: service.host, port: 80, endpoint: to(host), masqueraded: false, nodePort: HOST_NODE_PORT },
      { clusterIp: service.pod, port: 80, endpoint: to(pod), masqueraded: false, nodePort: NODE_PORT },
      { clusterIp: service.masqueraded, port: 80, endpoint: to(pod), masqueraded: true, nodePort: undefined },
    ]
    const ip = family === 4 ? 'ip' : 'ip6'
    const translated = `meta nfproto ipv${family} oifname != "veth-pod" tcp dport ${TRANSLATED_PORT} snat ${ip} to ${self}`
    return [{ proxy: proxyRules(mode, family, services), translated }]
  })
  return `
    ${all.map(({ proxy }) => proxy).join('')}
    table inet test_translation {
      chain post {
        type nat hook postrouting priority 101
        iifname veth-pod tcp dport ${MASQUERADED_PORT} masquerade
        ${all.map(({ translated }) => translated).join('\n')}
      }
    }`
}

/** @returns what address the other side saw, undefined where nobody answered */
export async function ask(namespace: string, address: string, port: number): Promise<string | undefined> {
  const script = `exec 3<>/dev/tcp/${address}/${port} && exec cat <&3`
  const { stdout } = await run(inNamespace(namespace, ['bash', '-c', script]), { timeoutMs: 4_000 })
  return stdout.startsWith(ANSWER) ? stdout.slice(ANSWER.length + 1).trim() : undefined
}
