import type { LabNode } from '#src/lab/lab.ts'

const TABLE = 'inet test_drop'

/** Drops what matches on its way into a node, and counts it in the kernel: the truth that meters are held against. */
export class PacketDrop implements AsyncDisposable {
  readonly #node: LabNode
  constructor(node: LabNode) {
    this.#node = node
  }

  /** @param match of nft, such as `udp dport 7777` @param verdict such as `drop` or `reject with tcp reset` */
  async start(match: string, verdict = 'drop'): Promise<void> {
    const rules = [
      `table ${TABLE} {`,
      '  counter dropped {\n  }',
      '  chain forward {',
      '    type filter hook forward priority 0; policy accept;',
      `    ${match} counter name dropped ${verdict}`,
      '  }',
      '}',
      '',
    ]
    const { status, stderr } = await this.#node.exec(['nft', '-f', '-'], { input: rules.join('\n') })
    if (status !== 0) throw new Error(stderr)
  }

  /** Drops nothing more. @returns how many packets were dropped */
  async stop(): Promise<number> {
    await this.#node.exec(['nft', 'flush', 'chain', ...TABLE.split(' '), 'forward'])
    const { stdout } = await this.#node.exec(['nft', '-j', 'list', 'counters', 'table', ...TABLE.split(' ')])
    const dropped = /"packets": (\d+)/.exec(stdout)?.[1]
    await this[Symbol.asyncDispose]()
    if (dropped === undefined) throw new Error(`no counter in ${stdout}`)
    return Number(dropped)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#node.exec(['nft', 'delete', 'table', ...TABLE.split(' ')])
  }
}
