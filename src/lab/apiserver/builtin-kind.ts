import { NAME_AND_AGE } from './columns.ts'
import type { Resource } from './resource.ts'

type Shape = Pick<Resource, 'kind' | 'plural' | 'description'> & Partial<Resource>

/** A kind of the server's own, with what most of them have in common. */
export function builtin(shape: Shape): Resource {
  return {
    group: '',
    version: 'v1',
    listKind: `${shape.kind}List`,
    singular: shape.kind.toLowerCase(),
    shortNames: [],
    namespaced: true,
    collection: shape.plural,
    status: 'none',
    generation: false,
    selectable: [],
    columns: NAME_AND_AGE,
    mergeKeys: { 'metadata.finalizers': '', 'metadata.ownerReferences': 'uid', ...shape.mergeKeys },
    schema: undefined,
    ...shape,
  }
}
