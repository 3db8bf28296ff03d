import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { parseAddress } from '#wg/ip.ts'
import { contents, type DesiredFirewall, replacement, structure } from '#wg/nftables/ruleset.ts'
import { firewall, prefixes } from '../../unit/nftables/fixtures.ts'
import { describeInNamespaces, Namespace } from '../netlink/namespace.ts'

const NODE = '10.200.0.11'
const POD = '10.244.2.10'
const PORT = 6443

const ANSWER = 'hello'
const SERVER = `
  require('node:net').createServer(socket => socket.end('${ANSWER}')).listen(${PORT}, '${NODE}', () => console.log('listens'))`

/** The other end of what stands for the tunnel, and the underlay, each as far as it sees what the node sends to the pod. */
const COUNT = `table ip seen { counter answers {}
  chain arriving { type filter hook prerouting priority 0; ip daddr ${POD} tcp sport ${PORT} counter name answers; }
}`

/** A node with host encryption and an API server on it, which a pod elsewhere asks through the tunnel. */
class Server implements AsyncDisposable {
  readonly #node = new Namespace()
  readonly #tunnel = new Namespace()
  readonly #underlay = new Namespace()
  #server: ChildProcess | undefined

  static async start(): Promise<Server> {
    const server = new Server()
    try {
      await server.#build()
      return server
    } catch (error) {
      await server[Symbol.asyncDispose]()
      throw error
    }
  }

  async #build(): Promise<void> {
    const links = [
      ['wireguard.cali', this.#tunnel, POD],
      ['eth0', this.#underlay, '10.200.0.12'],
    ] as const
    for (const [device, beyond, address] of links) {
      this.#node.ip(`link add ${device} type veth peer name eth0 netns ${beyond.name}`)
      this.#node.ip(`link set ${device} up`)
      beyond.ip('link set eth0 up')
      beyond.ip(`address add ${address}/24 dev eth0`)
      beyond.run(['nft', '-f', '-'], COUNT)
    }
    this.#node.ip(`address add ${NODE}/24 dev eth0`)
    this.#node.ip('address add 10.244.1.1/32 dev wireguard.cali')
    this.#tunnel.ip(`route add ${NODE} dev eth0`)
    this.#node.ip('route add 10.244.2.0/24 dev wireguard.cali table 1')
    this.#node.ip('rule add priority 99 not fwmark 0x200000/0x200000 lookup 1')
    this.#node.ip('route add default via 10.200.0.12')
    const child = spawn('ip', ['netns', 'exec', this.#node.name, process.execPath, '-e', SERVER], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#server = child
    await once(child.stdout, 'data')
  }

  filter(desired: DesiredFirewall): void {
    this.#node.run(['nft', '-f', '-'], replacement(structure(desired), contents(desired)))
  }

  /** @returns whether the pod is answered, and how many packets of the answer have gone by the underlay */
  ask(): { readonly answered: boolean; readonly clear: number } {
    const before = this.#clear
    const script = `timeout 2 bash -c 'exec 3<>/dev/tcp/${NODE}/${PORT} && cat <&3' || true`
    const answer = this.#tunnel.run(['bash', '-c', script]).trim()
    return { answered: answer === ANSWER, clear: this.#clear - before }
  }

  get #clear(): number {
    return Number(/packets (\d+)/.exec(this.#underlay.run(['nft', 'list', 'counter', 'ip', 'seen', 'answers']))?.[1])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = this.#server
    server?.kill('SIGKILL')
    if (server?.exitCode === null && server.signalCode === null) await once(server, 'close')
    for (const namespace of [this.#node, this.#tunnel, this.#underlay]) namespace[Symbol.dispose]()
  }
}

describeInNamespaces('an API server on a node with host encryption', () => {
  const apiServers = [{ address: parseAddress(NODE), port: PORT }]
  const hosts = { addresses: prefixes(['10.200.0.12']), apiServers }

  test('answers pods by the tunnel, whatever the guard does', async () => {
    await using server = await Server.start()
    for (const guard of [firewall().guard, undefined]) {
      server.filter(firewall({ guard, hosts }))
      expect(server.ask()).toEqual({ answered: true, clear: 0 })
    }
  })
})
