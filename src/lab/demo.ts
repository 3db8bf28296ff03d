import { setTimeout as delay } from 'node:timers/promises'
import { styleText } from 'node:util'
import { demoTable, type PhaseResult, verdict } from './demo-verdict.ts'
import { LabError } from './errors.ts'
import { frameText } from './frame-text.ts'
import { encryptionSpec, Lab, type LabNode, type LabOptions } from './lab.ts'
import { Monitor, type Observation, observationLine, turnedLine } from './monitor.ts'
import { missingRequirement } from './requirements.ts'
import { reportText } from './watch.ts'

export interface DemoOptions {
  readonly options: LabOptions
  /** Datagrams a second for each pair of pods and family; undefined is what a small machine can carry. */
  readonly rate: number | undefined
  /** Length of each phase in which nothing changes. */
  readonly seconds: number
  readonly signal: AbortSignal
  readonly print: (line: string) => void
}

/** How long all pairs may take to turn after the switch was thrown. */
const SWITCH_LIMIT_S = 60
/** Pairs turn within milliseconds of each other; this is what a person can still follow. */
const TURN_INTERVAL_MS = 200

/**
 * A lab from nothing to nothing: traffic in clear, encryption turned on and off under it, everything counted.
 * @returns whether no datagram was lost in all of it, and no pod packet was in clear while encryption was on
 */
export async function runDemo(demo: DemoOptions): Promise<boolean> {
  const { signal, print } = demo
  const missing = missingRequirement(['tcpdump'])
  if (missing) throw missing
  try {
    heading(print, `A cluster of ${demo.options.nodes ?? 3} nodes in network namespaces`)
    const started = performance.now()
    await using lab = await Lab.up(demo.options, signal)
    print(
      `up after ${((performance.now() - started) / 1000).toFixed(1)} s; its API: kubectl --kubeconfig ${lab.kubeconfig} get nodes`,
    )
    return await new Demo(lab, demo).run()
  } catch (error) {
    if (!signal.aborted) throw error
    print('interrupted; the lab has been removed')
    return false
  }
}

class Demo {
  readonly #lab: Lab
  readonly #demo: DemoOptions
  readonly #monitor: Monitor
  readonly #phases: PhaseResult[] = []

  constructor(lab: Lab, demo: DemoOptions) {
    this.#lab = lab
    this.#demo = demo
    this.#monitor = new Monitor(lab)
  }

  async run(): Promise<boolean> {
    const { rate, seconds, print } = this.#demo
    const { traffic } = this.#lab
    await traffic.prepare()
    const sniffed = await this.#sniffed(async () => {
      await traffic.start({ rate, streams: true })
      heading(print, `Off: ${traffic.rate} datagrams a second between each pair of pods, in each family`)
      await this.#phase('off', () => this.#hold(seconds))
    })
    print(
      `a sniffer on the underlay read ${sniffed.readable} of ${sniffed.frames} frames; the first: ${sniffed.example}`,
    )

    heading(print, 'Turning encryption on')
    await this.#patch(true)
    await this.#phase('turning on', () => this.#until(pairs => pairs.encryptedPairs === pairs.pairs, 'encrypted'))

    heading(print, 'On')
    const tunnelled = await this.#sniffed(() => this.#phase('on', () => this.#hold(seconds)))
    print(`the sniffer read ${tunnelled.readable} of ${tunnelled.frames} frames`)
    await this.#showNode()

    heading(print, 'Turning encryption off')
    await traffic.noteQueues()
    await this.#patch(false)
    await this.#phase('turning off', () => this.#until(pairs => pairs.encryptedPairs === 0, 'in clear'))
    await this.#phase('off again', () => this.#hold(seconds))
    const report = await traffic.stop()

    heading(print, 'Summary')
    const run = { phases: this.#phases, report, readableOff: sniffed.readable, readableOn: tunnelled.readable }
    print(demoTable(run))
    print(reportText(report))
    const { held, why } = verdict(run)
    print(held ? good(why) : bad(why))
    return held
  }

  /** Captures the underlay meanwhile. */
  async #sniffed(work: () => Promise<void>): Promise<{ frames: number; readable: number; example: string }> {
    await using capture = await this.#lab.underlay.capture()
    await work()
    const { frames, readable } = await capture.stop()
    return { frames, readable, example: capture.example ? frameText(capture.example) : 'none' }
  }

  async #phase(name: string, work: () => Promise<void>): Promise<void> {
    const before = await this.#monitor.observe()
    await work()
    const after = await this.#monitor.observe()
    this.#phases.push({ name, before, after })
  }

  async #hold(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second++) this.#demo.print(observationLine(await this.#look(1000)))
  }

  /** Looks often, and says which pairs have turned as they do. */
  async #until(reached: (observation: Observation) => boolean, what: string): Promise<void> {
    const end = performance.now() + SWITCH_LIMIT_S * 1000
    let printed = Number.NEGATIVE_INFINITY
    while (performance.now() < end) {
      const observation = await this.#look(TURN_INTERVAL_MS)
      const turned = turnedLine(observation)
      if (turned !== undefined || performance.now() - printed >= 1000) {
        this.#demo.print(observationLine(observation))
        if (turned !== undefined) this.#demo.print(turned)
        printed = performance.now()
      }
      if (reached(observation)) return
    }
    const logs = this.#lab.nodes.map(node => node.agent.logFile).join(' ')
    throw new LabError(
      'ERR_LAB_TIMEOUT',
      `after ${SWITCH_LIMIT_S} s not all pairs are ${what}; the agents' last words:\n${await this.#lastWords()}\n(${logs})`,
    )
  }

  async #look(afterMs: number): Promise<Observation> {
    await delay(afterMs, undefined, { signal: this.#demo.signal })
    return this.#monitor.observe()
  }

  /** As an operator does it. */
  async #patch(enabled: boolean): Promise<void> {
    const patch = { spec: encryptionSpec(this.#lab.plan, enabled) }
    this.#demo.print(command(`kubectl patch felixconfiguration default --type=merge -p '${JSON.stringify(patch)}'`))
    await this.#lab.setEncryption(enabled)
  }

  async #showNode(): Promise<void> {
    const [node] = this.#lab.nodes
    if (!node) return
    await this.#show(node, ['wg', 'show'])
    for (const family of this.#lab.plan.families) {
      const ip = `-${family}`
      const rules = await this.#show(node, ['ip', ip, 'rule', 'show', 'pref', '99'])
      const tableName = /lookup (\S+)/.exec(rules)?.[1]
      if (tableName) await this.#show(node, ['ip', ip, 'route', 'show', 'table', tableName])
    }
  }

  async #show(node: LabNode, argv: readonly string[]): Promise<string> {
    const { stdout, stderr } = await node.exec(argv)
    this.#demo.print(`${command(`podveil lab exec ${node.name} -- ${argv.join(' ')}`)}\n${(stdout + stderr).trimEnd()}`)
    return stdout
  }

  async #lastWords(): Promise<string> {
    const logs = this.#lab.nodes.map(node => `${node.name}: ${node.agent.logs().trimEnd().split('\n').at(-1) ?? ''}`)
    return logs.join('\n')
  }
}

const heading = (print: (line: string) => void, text: string): void => print(`\n${styled('bold', text)}`)
const command = (text: string): string => styled('cyan', `$ ${text}`)
const good = (text: string): string => styled('green', text)
const bad = (text: string): string => styled('red', text)

/** styleText leaves colours out where standard output is no terminal, or NO_COLOR is set. */
const styled = (style: 'bold' | 'cyan' | 'green' | 'red', text: string): string =>
  styleText(style, text, { stream: process.stdout })
