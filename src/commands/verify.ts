import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Family } from '#wg/ip.ts'
import { jsonOption, kubeconfigOption, print, printJson } from './common.ts'

interface VerifyFlags {
  readonly json?: true
  readonly family?: '4' | '6'
  readonly count: number
  readonly via?: string
  readonly kubeconfig?: string
}

/** `podveil verify [FROM TO]`: sends marked traffic, and looks at the underlay of both ends. */
export function registerVerify(program: Command): void {
  program
    .command('verify')
    .description(
      'send marked datagrams both ways and capture the underlay of both nodes; exit status 0 only if all of it was seen encrypted and none in clear',
    )
    .argument('[from]', 'pod (namespace/name), address, or node, which stands for its pods')
    .argument('[to]', 'the same; without both, each node with the next one')
    .addOption(new Option('--family <n>', 'IP family; all that both ends have by default').choices(['4', '6']))
    .option('--count <n>', 'datagrams each way and family', datagrams, 20)
    .option(
      '--via <command>',
      'shell command that runs podveil as root on node {node}; by default a container with NET_RAW that kubectl adds to its agent',
    )
    .addOption(jsonOption())
    .addOption(kubeconfigOption())
    .action(async (from: string | undefined, to: string | undefined, flags: VerifyFlags) => {
      if (from !== undefined && to === undefined) throw new Error('verify takes both ends, FROM and TO, or none')
      const { verify } = await import('#src/verify/verify.ts')
      const { verificationView } = await import('#src/verify/view.ts')
      const { paintFor } = await import('#src/status/format.ts')
      const { kubeconfig, via, count, family } = flags
      const ends = from !== undefined && to !== undefined ? ([from, to] as const) : undefined
      const wanted = family === undefined ? undefined : (Number(family) as Family)
      // What is waited for is said to people alone, and goes when it has come.
      const tell = process.stderr.isTTY
        ? (text: string) => void process.stderr.write(`\r\x1b[Kpodveil: verifying ${text} …`)
        : undefined
      const verification = await verify({
        ends,
        kubeconfig,
        via,
        count,
        family: wanted,
        ...(tell && { tell }),
      }).finally(() => tell && process.stderr.write('\r\x1b[K'))
      if (flags.json) printJson(verification)
      else print(verificationView(verification, paintFor(process.stdout)))
      process.exitCode = verification.verdict === 'encrypted' ? 0 : 1
    })

  program
    .command('verify-end', { hidden: true })
    .description('the end of `podveil verify` on this node: reads requests from its input, one a line')
    .action(async () => {
      const { runEnd } = await import('#src/verify/end.ts')
      await runEnd(process.stdin, process.stdout)
    })
}

function datagrams(text: string): number {
  const value = Number(text)
  if (!/^\d{1,4}$/.test(text) || value < 1) throw new InvalidArgumentError('1 to 9999 datagrams.')
  return value
}
