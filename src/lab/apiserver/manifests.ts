import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { isObject, type Json, type JsonObject } from './json.ts'

/** A manifest that is no YAML, or no CustomResourceDefinition. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError'
  readonly code = 'ERR_MANIFEST'
  constructor(file: string, fault: string) {
    super(`${file}: ${fault}`)
  }
}

/** Every CustomResourceDefinition in the YAML files of that directory and those below it. Throws ManifestError. */
export function readDefinitions(directory: string): readonly JsonObject[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter(file => /\.ya?ml$/.test(file))
    .sort()
    .flatMap(file => readFile(join(directory, file)))
}

function readFile(file: string): readonly JsonObject[] {
  return parseAllDocuments(readFileSync(file, 'utf8')).flatMap(document => {
    const [error] = document.errors
    if (error !== undefined) throw new ManifestError(file, error.message)
    const value = document.toJS() as Json
    if (value === null) return []
    if (isObject(value) && value.kind === 'CustomResourceDefinition') return [value]
    throw new ManifestError(file, 'is not a CustomResourceDefinition')
  })
}
