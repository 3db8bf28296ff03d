import { PROBE_TIMES, type ProbeTimes } from '#src/hello/path-prober.ts'

/**
 * How often paths are asked how large a packet may be. Only tests say it, in milliseconds: PODVEIL_PATH_MTU_PERIOD and
 * PODVEIL_PATH_MTU_RECHECK. What is no number of at least a second says nothing.
 */
export const probeTimes = (environment: Readonly<Record<string, string | undefined>>): ProbeTimes => ({
  period: milliseconds(environment.PODVEIL_PATH_MTU_PERIOD, PROBE_TIMES.period),
  recheck: milliseconds(environment.PODVEIL_PATH_MTU_RECHECK, PROBE_TIMES.recheck),
})

function milliseconds(text: string | undefined, otherwise: number): number {
  const value = Number(text)
  return Number.isFinite(value) && value >= 1_000 ? value : otherwise
}
