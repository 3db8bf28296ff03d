import type { ApiClient } from '#src/cluster/api-client.ts'
import { listOf, member, objectOf, textOf } from '#src/cluster/hostile.ts'

/** Of the DaemonSet's pods, as in manifests/base. */
const AGENTS = 'app.kubernetes.io/name=podveil,app.kubernetes.io/component=agent'

/** What the template of `--via` is followed by. */
const END = 'verify-end'

/** How the end of verify is started on a node. */
export interface Start {
  /** Runs it there, with its input and output on ours. */
  readonly argv: readonly string[]
  /** Where to look when it does not answer. */
  readonly hint: string
}

/** A shell command that runs podveil on a node; `{node}` is its name, which holds nothing that a shell minds. */
export function byTemplate(template: string, node: string): Start {
  const command = `${template.replaceAll('{node}', node)} ${END}`
  return { argv: ['sh', '-c', command], hint: `does this run there: ${command}` }
}

/**
 * Beside the node's agent, in a container of its own that kubectl adds to the agent's pod and that ends with us: it has
 * the node's network, and NET_RAW, which the agent itself is not given.
 * @throws Error where no agent runs there; ApiError and its like
 */
export async function byKubectl(client: ApiClient, kubeconfig: string | undefined, node: string): Promise<Start> {
  const query = `labelSelector=${encodeURIComponent(AGENTS)}&fieldSelector=${encodeURIComponent(`spec.nodeName=${node}`)}`
  const list = objectOf(await client.get(`/api/v1/pods?${query}`))
  const pods = listOf(member(list, 'items')).map(objectOf)
  // One that was evicted or is being replaced stays listed for a while.
  const pod = pods.find(isThere)
  const metadata = objectOf(member(pod ?? {}, 'metadata'))
  const name = textOf(member(metadata, 'name'), 253)
  const namespace = textOf(member(metadata, 'namespace'), 253)
  const container = objectOf(listOf(member(objectOf(member(pod ?? {}, 'spec')), 'containers'))[0])
  const image = textOf(member(container, 'image'), 1024)
  if (name === undefined || namespace === undefined || image === undefined)
    throw new Error(
      `no agent's pod runs on ${node}: where agents run without pods, --via says how podveil is run on a node`,
    )
  const argv = [
    // By its environment, where it may be several files.
    ...(kubeconfig === undefined ? [] : ['env', `KUBECONFIG=${kubeconfig}`]),
    'kubectl',
    ...['--namespace', namespace, 'debug', name],
    ...['--quiet', '--stdin', '--profile', 'netadmin', '--image', image, '--', 'podveil', END],
  ]
  return {
    argv,
    hint: `has the container that kubectl added to its pod started? kubectl -n ${namespace} describe pod ${name}`,
  }
}

const isThere = (pod: ReturnType<typeof objectOf>): boolean =>
  member(objectOf(member(pod, 'metadata')), 'deletionTimestamp') === undefined &&
  !['Succeeded', 'Failed'].includes(String(member(objectOf(member(pod, 'status')), 'phase')))
