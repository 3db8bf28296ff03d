import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'
import { isArray, isObject, type Json, type JsonObject, textAt } from '../apiserver/json.ts'
import { type MergeKeys, strategicMergePatch } from '../apiserver/strategic-merge-patch.ts'
import { LabError } from '../errors.ts'

/** What of a kustomization is understood; anything else is refused, so that nothing is left out without a word. */
interface Kustomization {
  readonly apiVersion?: string
  readonly kind?: string
  readonly resources?: readonly string[]
  readonly components?: readonly string[]
  readonly patches?: readonly { readonly path: string }[]
  readonly configMapGenerator?: readonly Generator[]
}

interface Generator {
  readonly name: string
  readonly namespace: string
  readonly files: readonly string[]
}

const UNDERSTOOD = new Set(['apiVersion', 'kind', 'resources', 'components', 'patches', 'configMapGenerator'])

const FILES = ['kustomization.yaml', 'kustomization.yml', 'Kustomization']

const POD = 'spec.template.spec'

/** Lists of a workload that merge by key, by the Kubernetes API (patchMergeKey). */
const MERGE_KEYS: MergeKeys = Object.fromEntries([
  [`${POD}.volumes`, 'name'],
  ...['containers', 'initContainers'].flatMap(list => [
    [`${POD}.${list}`, 'name'],
    [`${POD}.${list}.env`, 'name'],
    [`${POD}.${list}.ports`, 'containerPort'],
    [`${POD}.${list}.volumeMounts`, 'mountPath'],
  ]),
]) as MergeKeys

/**
 * The objects that `kubectl kustomize DIRECTORY` prints, as far as Podveil's own kustomizations go: resources, components,
 * patches by file, generated ConfigMaps with the hash in their names.
 * @throws LabError naming the file and what in it is not understood
 */
export function renderKustomization(directory: string): JsonObject[] {
  return applyKustomization(directory, [])
}

function applyKustomization(directory: string, onto: readonly JsonObject[]): JsonObject[] {
  const kustomization = readKustomization(directory)
  const { resources = [], components = [], patches = [], configMapGenerator = [] } = kustomization
  let objects = [...onto, ...resources.flatMap(name => readResource(join(directory, name)))]
  for (const component of components) objects = applyKustomization(join(directory, component), objects)
  for (const { path } of patches)
    for (const patch of readObjects(join(directory, path))) objects = patched(objects, patch, join(directory, path))
  const maps = configMapGenerator.map(generator => ({ name: generator.name, object: configMap(directory, generator) }))
  const names = new Map(maps.map(({ name, object }) => [name, textAt(object, 'metadata', 'name')]))
  return [...objects.map(object => renamed(object, names) as JsonObject), ...maps.map(({ object }) => object)]
}

function readKustomization(directory: string): Kustomization {
  const name = FILES.find(each => readdirSync(directory).includes(each))
  if (name === undefined)
    throw new LabError('ERR_LAB_STATE', `${directory} is no kustomization: it has none of ${FILES.join(', ')}`)
  const file = join(directory, name)
  const kustomization = parse(readFileSync(file, 'utf8')) as Kustomization
  const unknown = Object.keys(kustomization).find(key => !UNDERSTOOD.has(key))
  if (unknown !== undefined) throw new LabError('ERR_LAB_STATE', `${file}: ${unknown} is not understood here`)
  return kustomization
}

const readResource = (path: string): JsonObject[] =>
  statSync(path).isDirectory() ? renderKustomization(path) : readObjects(path)

/** Objects of a YAML file, as kubectl reads it: by YAML 1.1, in which 0555 is octal. @throws LabError */
export function readObjects(file: string): JsonObject[] {
  return parseAllDocuments(readFileSync(file, 'utf8'), { version: '1.1' }).flatMap(document => {
    const [error] = document.errors
    if (error) throw new LabError('ERR_LAB_STATE', `${file}: ${error.message}`)
    const object = document.toJS() as JsonObject | null
    return object === null ? [] : [object]
  })
}

const identity = (object: JsonObject): string =>
  [textAt(object, 'kind'), textAt(object, 'metadata', 'namespace'), textAt(object, 'metadata', 'name')].join('/')

function patched(objects: readonly JsonObject[], patch: JsonObject, file: string): JsonObject[] {
  const at = objects.findIndex(object => identity(object) === identity(patch))
  const target = objects[at]
  if (!target) throw new LabError('ERR_LAB_STATE', `${file}: there is no ${identity(patch)} to patch`)
  const { $patch } = patch
  return $patch === 'delete'
    ? objects.toSpliced(at, 1)
    : objects.toSpliced(at, 1, strategicMergePatch(target, patch, MERGE_KEYS))
}

function configMap(directory: string, { name, namespace, files }: Generator): JsonObject {
  const read = (file: string) => [basename(file), readFileSync(join(directory, file), 'utf8')] as const
  const data = Object.fromEntries(files.map(read).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `${name}-${contentHash(data)}`, namespace }, data }
}

/** kustomize's: of JSON as Go writes it, the name left empty; ten digits without those that make words. */
function contentHash(data: Readonly<Record<string, string>>): string {
  const json = JSON.stringify({ data, kind: 'ConfigMap', name: '' }).replaceAll(
    /[<>&\u2028\u2029]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  const letters: Readonly<Record<string, string>> = { 0: 'g', 1: 'h', 3: 'k', a: 'm', e: 't' }
  const hex = createHash('sha256').update(json).digest('hex').slice(0, 10)
  return [...hex].map(digit => letters[digit] ?? digit).join('')
}

/** With the generated names in `configMap` volumes in place of the plain ones. */
function renamed(value: Json, names: ReadonlyMap<string, string>): Json {
  if (isArray(value)) return value.map(each => renamed(each, names))
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) =>
      key === 'configMap' && isObject(inner) && names.has(textAt(inner, 'name'))
        ? [key, { ...inner, name: names.get(textAt(inner, 'name')) ?? '' }]
        : [key, renamed(inner, names)],
    ),
  )
}
