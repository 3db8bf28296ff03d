import { parse as parseYaml } from 'yaml'
import type { Exchange } from './exchange.ts'
import { isObject, type Json, type JsonObject } from './json.ts'
import { badRequest, unsupportedMediaType } from './status.ts'

/** The body's media type, without parameters; JSON where the client does not say. */
export function mediaType(exchange: Exchange): string {
  return (exchange.header('content-type').split(';')[0] ?? '').trim() || 'application/json'
}

/** The body as an object. Throws 400, 413 and 415. */
export async function readObject(exchange: Exchange): Promise<JsonObject> {
  const type = mediaType(exchange)
  const accepted = ['application/json', 'application/yaml']
  if (!accepted.includes(type)) throw unsupportedMediaType(accepted)
  const value = await readValue(exchange, type)
  if (!isObject(value)) throw badRequest('the body of the request is not an object')
  return value
}

/** The body as a value, JSON or (where the media type says so) YAML. Throws 400 and 413. */
export async function readValue(exchange: Exchange, type: string): Promise<Json> {
  const text = await exchange.body()
  if (text === '') throw badRequest('the body of the request is empty')
  // As a key it would set the prototype of what it is merged into; no field of any kind has that name.
  if (text.includes('__proto__')) throw badRequest('the body of the request has a field named __proto__')
  try {
    return type.endsWith('yaml') ? parseYaml(text, { maxAliasCount: 0 }) : JSON.parse(text)
  } catch (error) {
    throw badRequest(
      `the body of the request cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}
