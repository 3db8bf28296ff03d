import { isAbsolute, relative } from 'node:path'

/** What vitest's JSON report amounts to. */
export interface Count {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** How many were skipped for each reason that a test gave. */
  readonly reasons: ReadonlyMap<string, number>
  /** What failed, and the first line of why. */
  readonly failures: readonly string[]
}

export const NOTHING: Count = { passed: 0, failed: 0, skipped: 0, reasons: new Map(), failures: [] }

export const plus = (a: Count, b: Count): Count => ({
  passed: a.passed + b.passed,
  failed: a.failed + b.failed,
  skipped: a.skipped + b.skipped,
  reasons: new Map([...a.reasons, ...b.reasons]),
  failures: [...a.failures, ...b.failures],
})

/** What of it is read here. */
export interface Report {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numFailedTestSuites: number
  readonly testResults: readonly File[]
}

interface File {
  readonly name: string
  readonly status: string
  /** Why the file failed as a whole; empty when its tests say it. */
  readonly message: string
  readonly assertionResults: readonly Result[]
}

interface Result {
  readonly status: string
  /** With the names of the groups around it; a group that is skipped has its reason in its name. */
  readonly fullName: string
  readonly failureMessages?: readonly string[] | null
}

/** A suite that fails as a whole, at import or in a hook, has no failed test of its own: it counts as one. */
export function countReport(report: Report): Count {
  const results = report.testResults.flatMap(file => file.assertionResults)
  const skipped = results.filter(({ status }) => status === 'skipped' || status === 'pending' || status === 'todo')
  const reasons = new Map<string, number>()
  for (const { fullName } of skipped) {
    const reason = /\(skipped: (.*?)\)(?: |$)/.exec(fullName)?.[1] ?? fullName
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
  }
  const failures = report.testResults.flatMap(failuresOf)
  const failed = Math.max(report.numFailedTests, failures.length, report.numFailedTestSuites > 0 ? 1 : 0)
  return { passed: report.numPassedTests, failed, skipped: skipped.length, reasons, failures }
}

/** One report of runs that had a process each. */
export const merged = (reports: readonly Report[]): Report => ({
  numPassedTests: sum(reports.map(report => report.numPassedTests)),
  numFailedTests: sum(reports.map(report => report.numFailedTests)),
  numFailedTestSuites: sum(reports.map(report => report.numFailedTestSuites)),
  testResults: reports.flatMap(report => report.testResults),
})

/** Of a file whose run has left no report of its own. */
export const ofBrokenFile = (name: string, message: string): Report => ({
  numPassedTests: 0,
  numFailedTests: 0,
  numFailedTestSuites: 1,
  testResults: [{ name, status: 'failed', message, assertionResults: [] }],
})

function failuresOf({ name: path, status, message, assertionResults }: File): readonly string[] {
  const name = isAbsolute(path) ? relative(process.cwd(), path) : path
  const failed = assertionResults.filter(result => result.status === 'failed')
  if (failed.length === 0) return status === 'failed' ? [`${name}: ${firstLine(message)}`] : []
  return failed.map(({ fullName, failureMessages }) => `${name}: ${fullName}: ${firstLine(failureMessages?.[0] ?? '')}`)
}

const firstLine = (text: string): string => text.trimStart().split('\n')[0]?.slice(0, 500) ?? ''

const sum = (numbers: readonly number[]): number => numbers.reduce((all, number) => all + number, 0)
