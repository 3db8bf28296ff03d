import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { JsonObject, LabApi } from '../api.ts'
import { LabError } from '../errors.ts'
import { readObjects } from '../pod/kustomize.ts'
import { waitUntil } from '../wait.ts'

const FIELD_MANAGER = 'podveil-lab'
const ESTABLISH_LIMIT_MS = 30_000

export interface KubernetesObject extends JsonObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
}

/** Objects of a YAML file, or of all such files below a directory, in the order of their names. */
export function readManifests(path: string): KubernetesObject[] {
  if (!statSync(path).isDirectory()) return parse(path)
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter(name => /\.ya?ml$/.test(name))
    .sort()
    .flatMap(name => parse(join(path, name)))
}

/**
 * Makes or changes the objects as `kubectl apply --server-side` does, a field that the server does not know being an error. A
 * CustomResourceDefinition is waited for until it serves.
 * @param dryRun the server does all but store them: `--dry-run=server`
 * @throws LabError with the server's message when it refuses one
 */
export async function applyObjects(api: LabApi, objects: readonly KubernetesObject[], dryRun = false): Promise<void> {
  for (const object of objects) {
    const path = await objectPath(api, object)
    const query = `fieldManager=${FIELD_MANAGER}&force=true&fieldValidation=Strict${dryRun ? '&dryRun=All' : ''}`
    // JSON is YAML.
    await api.must('PATCH', `${path}?${query}`, object, 'application/apply-patch+yaml')
    if (dryRun) continue
    if (object.kind === 'CustomResourceDefinition') await untilServed(api, path, object)
  }
}

async function objectPath(api: LabApi, { apiVersion, kind, metadata }: KubernetesObject): Promise<string> {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const { resources } = (await api.get(root)) as { resources?: { name: string; kind: string; namespaced: boolean }[] }
  const resource = resources?.find(each => each.kind === kind && !each.name.includes('/'))
  if (!resource) throw new LabError('ERR_LAB_API', `the API server has no ${kind} in ${apiVersion}`)
  const scope = resource.namespaced ? `/namespaces/${metadata.namespace ?? 'default'}` : ''
  return `${root}${scope}/${resource.name}/${metadata.name}`
}

async function untilServed(api: LabApi, path: string, definition: KubernetesObject): Promise<void> {
  const { group, names, versions } = definition.spec as {
    group: string
    names: { plural: string }
    versions: { name: string; served: boolean }[]
  }
  await waitUntil(
    async () => {
      const { status } = (await api.get(path)) as { status?: { conditions?: { type: string; status: string }[] } }
      if (!status?.conditions?.some(each => each.type === 'Established' && each.status === 'True')) return false
      const answers = versions
        .filter(version => version.served)
        .map(version => api.request('GET', `/apis/${group}/${version.name}/${names.plural}?limit=1`))
      return (await Promise.all(answers)).every(answer => answer.status === 200)
    },
    ESTABLISH_LIMIT_MS,
    `${definition.metadata.name} to be served`,
  )
}

const parse = (file: string): KubernetesObject[] => readObjects(file) as unknown as KubernetesObject[]
