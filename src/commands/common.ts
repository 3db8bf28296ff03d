import { InvalidArgumentError, Option } from 'commander'
import { type IpAddress, parseAddress } from '#wg/ip.ts'

/** Options that several commands share. */
export const stateDirOption = (): Option =>
  new Option('--state-dir <dir>', 'where the agent keeps its state')
    .env('PODVEIL_STATE_DIR')
    .default('/var/lib/podveil')

export const kubeconfigOption = (): Option =>
  new Option('--kubeconfig <file>', 'credentials; by default those of a pod, else ~/.kube/config').env('KUBECONFIG')

export const jsonOption = (): Option => new Option('--json', 'for programs')

/** Of an option that takes an address. @throws InvalidArgumentError, which a person reads behind the option's name */
export function address(text: string): IpAddress {
  try {
    return parseAddress(text)
  } catch {
    throw new InvalidArgumentError('an address is IPv4 or IPv6, without a port, a prefix length or a name.')
  }
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

export const printJson = (value: unknown): void => print(JSON.stringify(value, undefined, 2))
