import type { ApiClient } from './api-client.ts'
import { ApiError } from './api-errors.ts'

const COLLECTION = '/apis/podveil.io/v1alpha1/podveilconfigurations'

/**
 * Asks for new keys in place of those that are in use now, by a PodveilConfiguration, which is made where it is missing.
 * @param name `default` for all nodes, `node.<name>` for one that exists
 * @returns the time that was written: keys in use since before are replaced
 * @throws ApiError when there is no such Node, or the caller may not; ApiUnreachableError
 */
export async function askForNewKeys(
  client: Pick<ApiClient, 'get' | 'mergePatch' | 'create'>,
  name: string,
  field: 'notBefore' | 'compromised',
): Promise<string> {
  // A misspelt name would be obeyed by nobody, in silence.
  if (name.startsWith('node.')) await client.get(`/api/v1/nodes/${encodeURIComponent(name.slice('node.'.length))}`)
  const time = new Date().toISOString()
  const spec = { rotation: { [field]: time } }
  try {
    await client.mergePatch(`${COLLECTION}/${encodeURIComponent(name)}`, { spec })
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error
    await client.create(COLLECTION, {
      apiVersion: 'podveil.io/v1alpha1',
      kind: 'PodveilConfiguration',
      metadata: { name },
      spec,
    })
  }
  return time
}
