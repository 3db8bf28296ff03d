import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import type { ApiClient, ApiObject } from './api-client.ts'

export const NODES = '/api/v1/nodes'
export const FELIX = '/apis/crd.projectcalico.org/v1/felixconfigurations'
export const PODVEIL = '/apis/podveil.io/v1alpha1/podveilconfigurations'
const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'

/** A name that no other test has, so that tests share one server and nothing else. */
export function fresh(prefix: string): string {
  return `${prefix}-${randomBytes(4).toString('hex')}`
}

export function node(name: string, more: object = {}): ApiObject {
  return { apiVersion: 'v1', kind: 'Node', metadata: { name }, ...more }
}

export function felix(name: string, spec: object): ApiObject {
  return { apiVersion: 'crd.projectcalico.org/v1', kind: 'FelixConfiguration', metadata: { name }, spec }
}

export function podveil(name: string, spec: object): ApiObject {
  return { apiVersion: 'podveil.io/v1alpha1', kind: 'PodveilConfiguration', metadata: { name }, spec }
}

/** Makes the server serve every kind of manifests/crds, and waits until it does. */
export async function installDefinitions(client: ApiClient): Promise<void> {
  const directory = fileURLToPath(new URL('../../manifests/crds', import.meta.url))
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.yaml'))
  for (const file of files) {
    const definition = parse(readFileSync(join(directory, file), 'utf8'))
    const { status, text } = await client.post(DEFINITIONS, definition)
    if (status !== 201 && status !== 409) throw new Error(`the server refuses ${file}: ${status} ${text}`)
    const { group, versions, names } = definition.spec
    const path = `/apis/${group}/${versions[0].name}/${names.plural}`
    await eventually(`${path} is served`, async () => (await client.get(path)).status === 200)
  }
}

/** Asks again until it is so; throws after the limit. */
export async function eventually(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  limitMs = 20_000,
): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

/** Removes, at the end of the test, what the test made at those paths. */
export class Leftovers {
  readonly #client: ApiClient
  readonly #paths = new Set<string>()

  constructor(client: ApiClient) {
    this.#client = client
  }

  /** Names a path that is to be deleted; returns it. */
  add(path: string): string {
    this.#paths.add(path)
    return path
  }

  async remove(): Promise<void> {
    for (const path of this.#paths) await this.#client.delete(path)
    this.#paths.clear()
  }
}

/** What each part of the contract works with; there from the first test on. */
export interface ContractContext {
  readonly client: ApiClient
  readonly leftovers: Leftovers
}
