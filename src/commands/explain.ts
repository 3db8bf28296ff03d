import { type Command, Option } from 'commander'
import type { Explanation } from '#src/status/explain.ts'
import type { MeshEnds } from '#src/status/sources/mesh-ends.ts'
import { type Family, familyOf } from '#wg/ip.ts'
import { jsonOption, kubeconfigOption, print, printJson, stateDirOption } from './common.ts'

interface ExplainFlags {
  readonly json?: true
  readonly family?: '4' | '6'
  readonly kubeconfig?: string
  readonly stateDir: string
}

/** `podveil explain FROM TO`: encrypted or not, and what decides it. */
export function registerExplain(program: Command): void {
  program
    .command('explain')
    .description(
      'the way from FROM to TO, encrypted or not, and what decides it; exit status 1 unless it is encrypted or stays on one node',
    )
    .argument('<from>', 'address, node, or pod (namespace/name)')
    .argument('<to>', 'address, node, or pod (namespace/name)')
    .addOption(new Option('--family <n>', 'IP family, where the ends have both').choices(['4', '6']))
    .addOption(jsonOption())
    .addOption(kubeconfigOption())
    .addOption(stateDirOption())
    .action(async (from: string, to: string, flags: ExplainFlags) => {
      const explanation = await explain(from, to, flags)
      const { explainView } = await import('#src/status/explain-view.ts')
      const { paintFor } = await import('#src/status/format.ts')
      if (flags.json) printJson(explanation)
      else print(explainView(explanation, paintFor(process.stdout)))
      process.exitCode = explanation.verdict === 'encrypted' || explanation.verdict === 'same-node' ? 0 : 1
    })
}

async function explain(from: string, to: string, { kubeconfig, stateDir, family }: ExplainFlags): Promise<Explanation> {
  const { lookAtNode } = await import('#src/status/sources/node.ts')
  const { nodeEnd } = await import('#src/status/sources/ends.ts')
  const { commonFamily, explainHere, placeOf } = await import('#src/status/explain.ts')
  const { snapshot, kernel, notes } = await lookAtNode(stateDir)
  // What this node knows by itself needs no API server.
  const known = [from, to].map(name => snapshot && nodeEnd(name, snapshot))
  using stack = new DisposableStack()
  let opened: MeshEnds | undefined
  const mesh = async (): Promise<MeshEnds> => {
    const { MeshEnds } = await import('#src/status/sources/mesh-ends.ts')
    opened ??= stack.use(await MeshEnds.open(kubeconfig))
    return opened
  }
  const ends = [known[0] ?? (await (await mesh()).addresses(from)), known[1] ?? (await (await mesh()).addresses(to))]
  const wanted = family === undefined ? undefined : (Number(family) as Family)
  const common = commonFamily(ends[0] ?? [], ends[1] ?? [], wanted)
  if (!common) throw new Error(`${from} and ${to} have no ${wanted ? `IPv${wanted} addresses` : 'IP family in common'}`)
  if (snapshot) {
    const [here, there] = [placeOf(common[0], from, snapshot), placeOf(common[1], to, snapshot)]
    if (here.node === snapshot.node) {
      if (!kernel) throw new Error(notes.join('; '))
      const { askRoute } = await import('#src/status/sources/asked-route.ts')
      const asked = there.node === snapshot.node ? undefined : await askRoute(here, there, kernel)
      return explainHere(here, there, snapshot, kernel, Date.now(), asked)
    }
  }
  const api = await mesh()
  const { meshStatus } = await import('#src/status/mesh-status.ts')
  const { explainFromMesh } = await import('#src/status/explain-mesh.ts')
  const [here, there] = [await api.place(common[0], from), await api.place(common[1], to)]
  const encryptingHosts = api.encryptingHosts(familyOf(common[0]))
  return explainFromMesh(here, there, meshStatus(api.objects), { doubts: await api.doubts(), encryptingHosts })
}
