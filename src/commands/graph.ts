import { type Command, Option } from 'commander'
import { kubeconfigOption, print } from './common.ts'

interface GraphFlags {
  readonly format: 'dot' | 'mermaid' | 'svg'
  readonly kubeconfig?: string
}

/** `podveil graph`: the mesh as a picture. */
export function registerGraph(program: Command): void {
  program
    .command('graph')
    .description(
      'the mesh as a graph of nodes and pairs, by what the nodes publish; beyond 40 nodes only what is not encrypted',
    )
    .addOption(
      new Option('--format <kind>', 'for Graphviz, for Markdown, or a picture')
        .choices(['dot', 'mermaid', 'svg'])
        .default('dot'),
    )
    .addOption(kubeconfigOption())
    .action(async ({ format, kubeconfig }: GraphFlags) => {
      const { openApi, readMesh } = await import('#src/status/sources/cluster.ts')
      const { meshGraph } = await import('#src/status/graph.ts')
      const { dotText, mermaidText, svgText } = await import('#src/status/graph-text.ts')
      const client = await openApi(kubeconfig)
      try {
        const { status } = await readMesh(client)
        print({ dot: dotText, mermaid: mermaidText, svg: svgText }[format](meshGraph(status)))
      } finally {
        client.close()
      }
    })
}
