import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { certificatesFor } from '#src/lab/apiserver/certificates.ts'
import { AGENT_NAMESPACE } from '#src/lab/kube-apiserver/agents.ts'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'
import { nodeProgram } from '#src/lab/node-program.ts'
import { containerCommand, imageEnvironment } from '#src/lab/pod/container.ts'
import { LabFiles } from '#src/lab/state.ts'
import { waitUntil } from '#src/lab/wait.ts'
import { answerStream, type Streamed, type StreamRequest } from './remote-command.ts'

/**
 * What the API server must be told. Off, it hands WebSockets on to the kubelet as they are; on, it would speak SPDY to it,
 * which kubelets know and this one does not.
 */
export const STREAMING_FLAGS =
  '--feature-gates=TranslateStreamCloseWebsocketRequests=false --kubelet-preferred-address-types=InternalIP'

/** Where an API server looks for a kubelet whose Node names no port. */
const PORT = 10_250
const PERIOD_MS = 200
const RELAY = fileURLToPath(new URL('../../../src/lab/relay.ts', import.meta.url))
const PODS = `/api/v1/namespaces/${AGENT_NAMESPACE}/pods`

/** What CRI-O gives a container that asks for nothing; containerd gives NET_RAW as well. */
const USUAL = ['CHOWN', 'DAC_OVERRIDE', 'FSETID', 'FOWNER', 'SETGID', 'SETUID', 'SETPCAP', 'NET_BIND_SERVICE', 'KILL']

interface Ephemeral {
  readonly name: string
  readonly command: readonly string[]
  readonly stdin?: boolean
  readonly stdinOnce?: boolean
  readonly securityContext?: { readonly capabilities?: { readonly add?: readonly string[] } }
}

interface Pod {
  readonly metadata: { readonly name: string }
  readonly spec: { readonly nodeName: string; readonly ephemeralContainers?: readonly Ephemeral[] }
}

interface Running {
  readonly container: Ephemeral
  readonly process: ChildProcessWithoutNullStreams
}

/**
 * The part of kubelets behind `kubectl exec`, `attach` and `debug`: on each node an HTTPS server at the port where the API server
 * looks for it, which runs commands in the agent's container, and containers that are added to the agents' pods.
 */
export class StreamingKubelets implements AsyncDisposable {
  readonly #lab: Lab
  readonly #stopping = new AbortController()
  readonly #servers: Server[] = []
  readonly #relays: ChildProcess[] = []
  readonly #added = new Map<string, Running>()
  #loop: Promise<void> = Promise.resolve()

  private constructor(lab: Lab) {
    this.#lab = lab
  }

  static async start(lab: Lab): Promise<StreamingKubelets> {
    const kubelets = new StreamingKubelets(lab)
    try {
      const { cert, key } = await certificatesFor(lab.nodes.flatMap(({ addresses }) => addresses))
      for (const node of lab.nodes) await kubelets.#serve(node, { cert, key })
    } catch (error) {
      await kubelets[Symbol.asyncDispose]()
      throw error
    }
    kubelets.#loop = kubelets.#work()
    return kubelets
  }

  /** Processes of containers that were added to pods and have not ended. */
  get left(): number {
    return [...this.#added.values()].filter(({ process }) => isRunning(process)).length
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort()
    await this.#loop
    for (const { process } of this.#added.values()) process.kill('SIGKILL')
    for (const relay of this.#relays) relay.kill('SIGKILL')
    for (const server of this.#servers) {
      server.closeAllConnections()
      server.close()
    }
  }

  async #serve(node: LabNode, pair: { readonly cert: string; readonly key: string }): Promise<void> {
    const files = new LabFiles(this.#lab.name)
    const socket = files.node(node.name, 'kubelet.sock')
    const ready = files.node(node.name, 'kubelet.json')
    for (const path of [socket, ready]) rmSync(path, { force: true })
    const server = createServer(pair, (_, response) => response.writeHead(404).end())
    server.on('upgrade', (request, connection, head) => {
      answerStream(request, connection, head, asked => this.#find(node, asked)).catch(() => connection.destroy())
    })
    this.#servers.push(server)
    server.listen(socket)
    await once(server, 'listening')
    // Into the node's network: a unix socket is reached from everywhere.
    const [program = '', ...args] = inNamespace(node.namespace, [
      nodeProgram(),
      RELAY,
      `0.0.0.0:${PORT}`,
      socket,
      ready,
    ])
    this.#relays.push(spawn(program, args, { stdio: 'ignore' }))
    await waitUntil(() => existsSync(ready), 20_000, `the kubelet of ${node.name} to listen`)
  }

  async #find(node: LabNode, { kind, pod, container, command }: StreamRequest): Promise<Streamed> {
    if (kind === 'exec') {
      const [program = '', ...args] = node.agent.enter(command)
      return { process: spawn(program, args), endsInput: true }
    }
    const running = this.#added.get(`${pod}/${container}`)
    if (!running) throw new Error(`${pod} has no container ${container} that was added`)
    return { process: running.process, endsInput: running.container.stdinOnce === true }
  }

  async #work(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      // The API server may be away; and a Pod may go while its status is written.
      await this.#pass().catch(() => undefined)
      await delay(PERIOD_MS, undefined, { signal }).catch(() => undefined)
    }
  }

  async #pass(): Promise<void> {
    const { items } = (await this.#lab.client.get(PODS)) as unknown as { items: readonly Pod[] }
    for (const { metadata, spec } of items) {
      const { ephemeralContainers = [], nodeName } = spec
      const node = this.#lab.nodes.find(({ name }) => name === nodeName)
      if (!node || ephemeralContainers.length === 0) continue
      for (const container of ephemeralContainers) {
        const key = `${metadata.name}/${container.name}`
        if (!this.#added.has(key)) this.#added.set(key, { container, process: this.#run(node, container) })
      }
      const ephemeralContainerStatuses = ephemeralContainers.map(({ name }) => this.#statusOf(metadata.name, name))
      await this.#lab.client.mergePatch(`${PODS}/${metadata.name}/status`, { status: { ephemeralContainerStatuses } })
    }
  }

  /** By what kubectl has written of it: the agent's image, the node's network, the capabilities that were asked for. */
  #run(node: LabNode, { command, securityContext }: Ephemeral): ChildProcessWithoutNullStreams {
    const capabilities = [...new Set([...USUAL, ...(securityContext?.capabilities?.add ?? [])])]
    const { image } = node.agent
    const rest = {
      env: {},
      volumes: [],
      noNewPrivileges: false,
      readOnlyRoot: false,
      token: false,
      readiness: undefined,
    }
    const [program = '', ...args] = containerCommand(
      { argv: command, capabilities, ...rest },
      { files: new LabFiles(this.#lab.name), node: node.plan, objects: [], image, ahead: [] },
    )
    return spawn(program, args, { env: imageEnvironment(image) })
  }

  #statusOf(pod: string, name: string): object {
    const child = this.#added.get(`${pod}/${name}`)?.process
    const ended = child && !isRunning(child)
    const state = ended ? { terminated: { exitCode: child.exitCode ?? 137 } } : { running: {} }
    return { name, image: '', imageID: '', ready: false, restartCount: 0, state }
  }
}

const isRunning = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode === null && signalCode === null
