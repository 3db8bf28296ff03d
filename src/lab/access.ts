import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { formatEndpoint } from '#wg/ip.ts'
import type { ApiAccess } from './api.ts'
import { LabError } from './errors.ts'
import { AGENT_NAMESPACE } from './kube-apiserver/agents.ts'
import { nodeProgram } from './node-program.ts'
import { API_PORT, type LabPlan } from './plan.ts'
import { startDetached } from './processes.ts'
import { type LabFiles, writeWhole } from './state.ts'
import { waitUntil } from './wait.ts'

const RELAY = fileURLToPath(new URL('./relay.ts', import.meta.url))

/** The relay's address is not the API server's own, so it is this name that its certificate is held to. */
const SERVER_NAME = 'localhost'

/** Who may do what: an administrator, and each node's agent with a name of its own, as a kubelet has one. */
interface Tokens {
  readonly admin: string
  readonly nodes: Readonly<Record<string, string>>
}

/** Makes the tokens and writes them in the form of kube-apiserver's --token-auth-file. */
export function writeTokens(plan: LabPlan, files: LabFiles): void {
  const token = () => randomBytes(16).toString('hex')
  const nodes = Object.fromEntries(plan.nodes.map(node => [node.name, token()]))
  const tokens: Tokens = { admin: token(), nodes }
  const lines = [
    `${tokens.admin},podveil-lab-admin,podveil-lab-admin,"system:masters"`,
    ...Object.entries(nodes).map(([name, text]) => `${text},system:node:${name},system:node:${name},"system:nodes"`),
  ]
  writeWhole(files.apiTokens, lines.map(line => `${line}\n`).join(''))
  writeWhole(files.tokens, JSON.stringify(tokens))
}

/** Joins a port of the machine's loopback with the API server. @returns the port */
export async function startRelay(files: LabFiles): Promise<number> {
  await startDetached([nodeProgram(), RELAY, '127.0.0.1:0', files.apiSocket, files.relay], {
    recordFile: files.process('relay'),
    logFile: files.log('relay'),
  })
  return waitUntil(() => relayPort(files), 60_000, `the relay to the API server (${files.log('relay')})`)
}

/** Kubeconfigs for the machine, by way of the relay, and for the agent of each node, by way of the underlay. */
export function writeKubeconfigs(plan: LabPlan, files: LabFiles, port: number): void {
  const authority = { 'certificate-authority-data': readFileSync(files.apiCa, 'base64') }
  const tokens = readTokens(files)
  const context = `podveil-lab-${plan.name}`
  writeWhole(
    files.kubeconfig,
    kubeconfig(
      context,
      { server: `https://127.0.0.1:${port}`, 'tls-server-name': SERVER_NAME, ...authority },
      tokens.admin,
    ),
  )
  const [address] = plan.switchAddresses
  if (address === undefined) throw new LabError('ERR_LAB_STATE', 'the lab has no address family')
  const server = `https://${formatEndpoint({ address, port: API_PORT })}`
  for (const node of plan.nodes) {
    const token = tokens.nodes[node.name] ?? ''
    writeWhole(files.node(node.name, 'kubeconfig'), kubeconfig(context, { server, ...authority }, token))
    // Where a kubelet mounts it, so that agents have their credentials as they do on a real cluster.
    const account = join(files.node(node.name, 'run'), 'secrets/kubernetes.io/serviceaccount')
    mkdirSync(account, { recursive: true, mode: 0o700 })
    writeWhole(join(account, 'token'), token)
    writeWhole(join(account, 'ca.crt'), readFileSync(files.apiCa, 'utf8'))
    writeWhole(join(account, 'namespace'), AGENT_NAMESPACE)
  }
}

/** What a kubelet tells every pod of where the API server is. */
export const serviceEnvironment = (plan: LabPlan): Readonly<Record<string, string>> => ({
  KUBERNETES_SERVICE_HOST: plan.switchAddresses[0] ?? '',
  KUBERNETES_SERVICE_PORT: String(API_PORT),
})

/** @throws LabError when the lab has no API server yet */
export function adminAccess(files: LabFiles): ApiAccess {
  try {
    return {
      host: '127.0.0.1',
      port: relayPort(files),
      serverName: SERVER_NAME,
      ca: readFileSync(files.apiCa, 'utf8'),
      token: readTokens(files).admin,
    }
  } catch (cause) {
    throw new LabError('ERR_LAB_STATE', 'the lab is not complete: remove it with `podveil lab down`', { cause })
  }
}

const readTokens = (files: LabFiles): Tokens => JSON.parse(readFileSync(files.tokens, 'utf8')) as Tokens

const relayPort = (files: LabFiles): number => (JSON.parse(readFileSync(files.relay, 'utf8')) as { port: number }).port

function kubeconfig(name: string, cluster: Readonly<Record<string, string>>, token: string): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  })
}
