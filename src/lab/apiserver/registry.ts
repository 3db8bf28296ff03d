import { CUSTOM_RESOURCE_DEFINITIONS, resourcesOf } from './custom-resources.ts'
import { NODES } from './kind-node.ts'
import { CORE_KINDS } from './kinds-core.ts'
import { groupVersion, type Resource } from './resource.ts'
import type { Store } from './store.ts'

const BUILTIN: readonly Resource[] = [NODES, ...CORE_KINDS, CUSTOM_RESOURCE_DEFINITIONS]

/** Everything that is served: the server's own kinds, and those of the CustomResourceDefinitions in the store. */
export class Registry {
  readonly #store: Store
  #resources: readonly Resource[] | undefined

  constructor(store: Store) {
    this.#store = store
    store.onChange(collection => {
      if (collection === CUSTOM_RESOURCE_DEFINITIONS.collection) this.#resources = undefined
    })
  }

  get resources(): readonly Resource[] {
    const definitions = this.#store.list(CUSTOM_RESOURCE_DEFINITIONS.collection)
    this.#resources ??= [...BUILTIN, ...definitions.flatMap(resourcesOf)]
    return this.#resources
  }

  find(group: string, version: string, plural: string): Resource | undefined {
    return this.resources.find(
      resource => resource.group === group && resource.version === version && resource.plural === plural,
    )
  }

  /** The resources of each group and version, in the order in which discovery names them. */
  byGroupVersion(): ReadonlyMap<string, readonly Resource[]> {
    return Map.groupBy(this.resources, groupVersion)
  }

  /** The versions of each group but the core group, in the order in which discovery names them. */
  versionsByGroup(): ReadonlyMap<string, readonly string[]> {
    const named = this.resources.filter(resource => resource.group !== '')
    const groups = Map.groupBy(named, resource => resource.group)
    return new Map([...groups].map(([group, list]) => [group, [...new Set(list.map(({ version }) => version))]]))
  }
}
