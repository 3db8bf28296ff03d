import { ageOf } from './age.ts'
import { builtin } from './builtin-kind.ts'
import { AGE, NAME, NAME_AND_AGE, since } from './columns.ts'
import { arrayAt, at, isObject, type Json, type JsonObject, objectAt, plainText, textAt } from './json.ts'
import { jsonPath } from './json-path.ts'
import type { Column, Resource } from './resource.ts'
import { ObjectSchema } from './schema.ts'
import type { Cause } from './status.ts'
import { timestamp } from './timestamp.ts'

export const CUSTOM_RESOURCE_DEFINITIONS: Resource = builtin({
  group: 'apiextensions.k8s.io',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  description: 'A kind of object that the cluster serves beside its own.',
  shortNames: ['crd', 'crds'],
  namespaced: false,
  collection: 'customresourcedefinitions.apiextensions.k8s.io',
  status: 'with-metadata',
  generation: true,
  columns: [NAME, { ...since('Created At', () => ''), cell: crd => textAt(crd, 'metadata', 'creationTimestamp') }],
  mergeKeys: undefined,
  complete: establish,
  check: checkDefinition,
})

/** Names are accepted and the kind is served at once, where the real server needs a moment. */
function establish(crd: JsonObject): JsonObject {
  const names = objectAt(crd, 'spec', 'names')
  const kind = textAt(names, 'kind')
  const complete = { listKind: `${kind}List`, singular: kind.toLowerCase(), ...names }
  const now = timestamp()
  const stored = arrayAt(crd, 'spec', 'versions').filter(version => at(version, 'storage') === true)
  const condition = (type: string, reason: string): JsonObject => {
    return { type, status: 'True', reason, message: '', lastTransitionTime: now }
  }
  return {
    ...crd,
    spec: { conversion: { strategy: 'None' }, ...objectAt(crd, 'spec'), names: complete },
    status: {
      acceptedNames: complete,
      conditions: [condition('NamesAccepted', 'NoConflicts'), condition('Established', 'InitialNamesAccepted')],
      storedVersions: stored.map(version => textAt(version, 'name')),
    },
  }
}

function checkDefinition(crd: JsonObject, previous: JsonObject | undefined): readonly Cause[] {
  const causes: Cause[] = []
  const required = (...path: string[]): void => {
    if (textAt(crd, ...path) !== '') return
    causes.push({ reason: 'FieldValueRequired', message: 'Required value', field: path.join('.') })
  }
  required('spec', 'group')
  required('spec', 'names', 'plural')
  required('spec', 'names', 'kind')
  const refuse = (field: string, value: Json, why: string): void => {
    causes.push({ reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${why}`, field })
  }
  const name = textAt(crd, 'metadata', 'name')
  if (name !== `${textAt(crd, 'spec', 'names', 'plural')}.${textAt(crd, 'spec', 'group')}`) {
    refuse('metadata.name', name, 'must be spec.names.plural+"."+spec.group')
  }
  const scope = textAt(crd, 'spec', 'scope')
  if (scope !== 'Cluster' && scope !== 'Namespaced') {
    const message = `Unsupported value: "${scope}": supported values: "Cluster", "Namespaced"`
    causes.push({ reason: 'FieldValueNotSupported', message, field: 'spec.scope' })
  }
  if (previous !== undefined && textAt(previous, 'spec', 'scope') !== scope) {
    refuse('spec.scope', scope, 'field is immutable')
  }
  const versions = arrayAt(crd, 'spec', 'versions')
  if (versions.filter(version => at(version, 'storage') === true).length !== 1) {
    refuse('spec.versions', versions.length, 'must have exactly one version marked as storage version')
  }
  for (const [index, version] of versions.entries()) {
    if (isObject(at(version, 'schema', 'openAPIV3Schema'))) continue
    const field = `spec.versions[${index}].schema.openAPIV3Schema`
    causes.push({ reason: 'FieldValueRequired', message: 'Required value: schemas are required', field })
  }
  return causes
}

/** The kinds that a CustomResourceDefinition serves, one for each served version. */
export function resourcesOf(crd: JsonObject): readonly Resource[] {
  const group = textAt(crd, 'spec', 'group')
  const names = objectAt(crd, 'spec', 'names')
  const plural = textAt(names, 'plural')
  return arrayAt(crd, 'spec', 'versions')
    .filter(version => at(version, 'served') === true)
    .map(version => ({
      group,
      version: textAt(version, 'name'),
      kind: textAt(names, 'kind'),
      listKind: textAt(names, 'listKind') || `${textAt(names, 'kind')}List`,
      plural,
      singular: textAt(names, 'singular') || textAt(names, 'kind').toLowerCase(),
      shortNames: arrayAt(names, 'shortNames').map(String),
      namespaced: textAt(crd, 'spec', 'scope') === 'Namespaced',
      description: textAt(version, 'schema', 'openAPIV3Schema', 'description'),
      collection: `${plural}.${group}`,
      status: at(version, 'subresources', 'status') === undefined ? 'none' : 'alone',
      generation: true,
      selectable: [],
      columns: printerColumns(version),
      mergeKeys: undefined,
      schema: new ObjectSchema(objectAt(version, 'schema', 'openAPIV3Schema')),
    }))
}

function printerColumns(version: Json): readonly Column[] {
  const own = arrayAt(version, 'additionalPrinterColumns').filter(isObject).map(printerColumn)
  if (own.length === 0) return NAME_AND_AGE
  return own.some(column => column.name === AGE.name) ? [NAME, ...own] : [NAME, ...own, AGE]
}

function printerColumn(column: JsonObject): Column {
  const find = jsonPath(textAt(column, 'jsonPath'))
  const type = (textAt(column, 'type') || 'string') as Column['type'] // the real server's schema of a CRD has checked it
  const priority = at(column, 'priority')
  return {
    name: textAt(column, 'name'),
    type: type === 'date' ? 'string' : type,
    description: textAt(column, 'description'),
    priority: typeof priority === 'number' ? priority : 0,
    cell: (object, now) => {
      const [value = null] = find(object)
      if (type === 'date') return ageOf(plainText(value), now)
      return typeof value === 'object' && value !== null ? JSON.stringify(value) : value
    },
  }
}
