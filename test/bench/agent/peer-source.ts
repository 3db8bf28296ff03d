import { setTimeout as pause } from 'node:timers/promises'
import { annotations } from '#src/cluster/annotations.ts'
import { waitUntil } from '#src/lab/wait.ts'
import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { LargeMesh, metric } from './large-mesh.ts'
import { newKey } from './node-object.ts'
import { usageOf } from './process.ts'
import { atRate, COARSE, HEARTBEAT, heartbeats } from './steady.ts'

const LIMIT_MS = 120_000

/** What an agent is sent by the API server, and what that costs it: from Nodes, whole and by their metadata, and from MeshNodes. */
export async function peerSource({ sizes, steadySeconds, settleSeconds }: Profile): Promise<Table> {
  const rows: Row[] = []
  for (const nodes of sizes) {
    await using mesh = await LargeMesh.undescribed(nodes)
    await mesh.writeMeshNodes()
    await mesh.startAgent()
    await mesh.stopAgent()
    await mesh.steerAll()
    await mesh.startAgent({ resolution: COARSE })
    await mesh.probe({ quiet: true })
    await pause(settleSeconds * 1_000)
    const beats = heartbeats(mesh)
    const load = {
      nothing: (seconds: number) => pause(seconds * 1_000),
      heartbeats: beats,
      'heartbeats, and a new key every second': (seconds: number) =>
        Promise.all([beats(seconds), atRate(1, seconds, turn => newKeyOf(mesh, turn % (nodes - 1)))]),
    } satisfies Record<string, (seconds: number) => Promise<unknown>>
    const until = (series: RegExp, what: string) =>
      waitUntil(async () => series.test(await mesh.metrics()), LIMIT_MS, `the agent to read ${what}`)
    const goOver = {
      'Nodes, whole': async () => {},
      Nodes: async () => {
        await mesh.setPeerSource('Nodes')
        await mesh.describeAll()
        await until(/^podveil_api_watches_total\{resource="undescribednodes"\} [1-9]/m, 'metadata')
      },
      MeshNodes: async () => {
        await mesh.setPeerSource('MeshNodes')
        await until(/^podveil_peer_source\{source="MeshNodes"\} 1$/m, 'MeshNodes')
      },
    }
    // Keys last: nobody answers with a new one here, so that its pair goes on changing, which costs the agent more than any source.
    const rounds = [
      ['Nodes, whole', 'nothing', 'heartbeats'],
      ['Nodes', 'nothing', 'heartbeats'],
      ['MeshNodes', 'nothing', 'heartbeats', 'heartbeats, and a new key every second'],
      ['Nodes', 'heartbeats, and a new key every second'],
    ] as const
    for (const [source, ...loads] of rounds) {
      await goOver[source]()
      // What the change itself costs is over.
      await pause(3_000)
      for (const writes of loads) {
        const before = await measured(mesh)
        await load[writes](steadySeconds)
        const after = await measured(mesh)
        const seconds = (after.at - before.at) / 1_000
        rows.push(
          told({
            nodes,
            writes,
            source,
            'kB a minute from the API': ((after.bytes - before.bytes) / 1_000 / seconds) * 60,
            'agent CPU %': ((after.cpu - before.cpu) * 100) / seconds,
            'of it system %': ((after.system - before.system) * 100) / seconds,
            'RSS MB': after.rss / 1e6,
          }),
        )
      }
    }
    await mesh.stopAgent()
  }
  return {
    name: 'peer-source',
    title: 'Nodes and MeshNodes',
    notes: [
      `${steadySeconds} s each, with all pairs encrypted, from ${settleSeconds} s after the start, in one agent that was changed over live. “Nodes, whole” is while no node describes itself in its metadata. Heartbeats: each Node’s status every ${HEARTBEAT} s, as kubelets write it. Bytes are those of the watches; nothing else was asked for. The same agent throughout, in the order of the rows. “System” is the kernel’s part; the rest is V8’s and ours.`,
    ],
    rows,
  }
}

const measured = async (mesh: LargeMesh) => ({
  ...usageOf(mesh.pid),
  bytes: metric(await mesh.metrics(), 'podveil_api_received_bytes_total'),
  at: performance.now(),
})

/** As an agent does that takes a new key: on its Node as before, and on its MeshNode. */
async function newKeyOf(mesh: LargeMesh, index: number): Promise<void> {
  const key = newKey()
  await mesh.patchNode(index, { metadata: { annotations: { [annotations.publicKey[4]]: key } } })
  await mesh.patchMeshNode(index, { spec: { ipv4: { publicKey: key } } })
}
