import { Option } from 'commander'

/** Options that several commands share. */
export const stateDirOption = (): Option =>
  new Option('--state-dir <dir>', 'where the agent keeps its state')
    .env('PODVEIL_STATE_DIR')
    .default('/var/lib/podveil')

export const kubeconfigOption = (): Option =>
  new Option('--kubeconfig <file>', 'credentials; by default those of a pod, else ~/.kube/config').env('KUBECONFIG')

export const jsonOption = (): Option => new Option('--json', 'for programs')

export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

export const printJson = (value: unknown): void => print(JSON.stringify(value, undefined, 2))
