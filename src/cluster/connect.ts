import type { Credentials } from './credentials.ts'
import { inClusterCredentials } from './in-cluster.ts'

/**
 * Credentials from a kubeconfig where one is named, else from the pod's service account.
 * @param kubeconfig file or colon-separated files; `--kubeconfig`, else KUBECONFIG
 * @throws CredentialsError
 */
export async function loadCredentials(kubeconfig: string | undefined): Promise<Credentials> {
  if (!kubeconfig) return inClusterCredentials()
  // Tens of megabytes that an agent in a pod never needs.
  const { kubeconfigCredentials } = await import('./kubeconfig.ts')
  return kubeconfigCredentials(kubeconfig)
}
