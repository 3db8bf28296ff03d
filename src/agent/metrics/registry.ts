export type Labels = Readonly<Record<string, string>>

export interface Sample {
  readonly labels: Labels
  readonly value: number
}

/** A metric family: a name, and its samples at the moment of a scrape. */
export interface Metric {
  readonly name: string
  readonly help: string
  readonly type: 'gauge' | 'counter' | 'histogram'
  /** Name suffix (`_bucket`), labels and value of each line. */
  lines(): Iterable<readonly [suffix: string, sample: Sample]>
}

/** A metric whose samples are computed at each scrape. */
export function collected(
  type: 'gauge' | 'counter',
  name: string,
  help: string,
  collect: () => Iterable<Sample>,
): Metric {
  return {
    name,
    help,
    type,
    *lines() {
      for (const sample of collect()) yield ['', sample] as const
    },
  }
}

/** Counts by labels. */
export class Counter implements Metric {
  readonly type = 'counter'
  readonly name: string
  readonly help: string
  readonly #counts = new Map<string, { labels: Labels; value: number }>()

  constructor(name: string, help: string) {
    this.name = name
    this.help = help
  }

  add(labels: Labels = {}, by = 1): void {
    const key = JSON.stringify(Object.entries(labels).sort())
    const count = this.#counts.get(key)
    if (count) count.value += by
    else this.#counts.set(key, { labels, value: by })
  }

  *lines(): Iterable<readonly [string, Sample]> {
    for (const sample of this.#counts.values()) yield ['', sample] as const
  }
}

/** Observations in cumulative buckets. */
export class Histogram implements Metric {
  readonly type = 'histogram'
  readonly name: string
  readonly help: string
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0
  #count = 0

  /** @param bounds upper bounds, ascending */
  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name
    this.help = help
    this.#bounds = bounds
    this.#counts = bounds.map(() => 0)
  }

  observe(value: number): void {
    this.#sum += value
    this.#count += 1
    this.#bounds.forEach((bound, i) => {
      if (value <= bound) this.#counts[i] = (this.#counts[i] ?? 0) + 1
    })
  }

  *lines(): Iterable<readonly [string, Sample]> {
    for (const [i, bound] of this.#bounds.entries())
      yield ['_bucket', { labels: { le: String(bound) }, value: this.#counts[i] ?? 0 }] as const
    yield ['_bucket', { labels: { le: '+Inf' }, value: this.#count }] as const
    yield ['_sum', { labels: {}, value: this.#sum }] as const
    yield ['_count', { labels: {}, value: this.#count }] as const
  }
}

/** Characters of a piece of the exposition. */
const PIECE = 16_384

/** Prometheus text exposition, version 0.0.4, in pieces: of a large mesh it is megabytes. */
export function* exposition(metrics: Iterable<Metric>): Generator<string> {
  let piece = ''
  for (const metric of metrics) {
    piece += `# HELP ${metric.name} ${metric.help}\n# TYPE ${metric.name} ${metric.type}\n`
    for (const [suffix, { labels, value }] of metric.lines()) {
      piece += `${metric.name}${suffix}${formatLabels(labels)} ${value}\n`
      if (piece.length < PIECE) continue
      yield piece
      piece = ''
    }
  }
  yield piece
}

function formatLabels(labels: Labels): string {
  let pairs = ''
  for (const name of Object.keys(labels)) pairs += `${pairs && ','}${name}="${escapeLabel(labels[name] ?? '')}"`
  return pairs && `{${pairs}}`
}

const SPECIAL = /[\\"\n]/

const escapeLabel = (value: string): string =>
  SPECIAL.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n') : value
