import type { LabNode } from '#src/lab/lab.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit } from './profile.ts'

export interface LogLine {
  /** pino's: 30 is info, 40 a warning, 50 an error. */
  readonly level: number
  readonly msg: string
}

/** What the agent of a node says from here on. */
export class AgentLog {
  readonly #node: LabNode
  readonly #from: number

  constructor(node: LabNode) {
    this.#node = node
    this.#from = length(node)
  }

  /** Whole lines that it printed for a program; see `text` for all else. */
  get lines(): LogLine[] {
    return this.text.split('\n').flatMap(line => parse(line) ?? [])
  }

  get text(): string {
    return this.#node.agent.logs().slice(this.#from)
  }

  matching(pattern: RegExp): LogLine[] {
    return this.lines.filter(({ msg }) => pattern.test(msg))
  }

  /** @returns the first line that says it */
  says(pattern: RegExp, limitMs = limit(10_000)): Promise<LogLine> {
    const look = () => {
      const [first] = this.matching(pattern)
      if (!first) throw new Error(`it says ${JSON.stringify(this.text)}`)
      return first
    }
    return waitFor(look, limitMs, `the agent of ${this.#node.name} to say ${pattern}`)
  }
}

/** The log is made with the first start. */
function length(node: LabNode): number {
  try {
    return node.agent.logs().length
  } catch {
    return 0
  }
}

function parse(line: string): LogLine | undefined {
  try {
    const { level, msg } = JSON.parse(line) as Partial<LogLine>
    return typeof level === 'number' && typeof msg === 'string' ? { level, msg } : undefined
  } catch {
    return undefined
  }
}
