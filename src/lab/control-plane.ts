import type { ProcessRecord } from './processes.ts'

/**
 * A Kubernetes API server for a lab, whichever program it is. Its contract with the lab:
 * - it runs in the switch namespace and serves TLS on API_PORT of every switch address, and on the unix socket
 *   `LabFiles.apiSocket` (for the relay to the machine's loopback; a server that has no such listener starts a relay
 *   of its own there);
 * - its certificate is signed by `LabFiles.apiCa` and is good for `localhost` and for every switch address;
 * - it takes the bearer tokens of `LabFiles.apiTokens` (CSV: token, user, uid, "group,group", as kube-apiserver's
 *   --token-auth-file) and serves the CRDs of Podveil and of FelixConfiguration;
 * - what was stored, certificates and tokens are the same after stop() and start().
 */
export interface ControlPlane {
  readonly kind: 'embedded' | 'real'
  /** Returns when it answers. @throws LabError with the end of its log when it does not */
  start(): Promise<void>
  /** Returns when it has ended. Not running is fine. */
  stop(signal?: NodeJS.Signals): Promise<void>
  /** Undefined when it does not run. */
  readonly process: ProcessRecord | undefined
}
