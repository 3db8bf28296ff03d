import { expect, test } from 'vitest'
import { countReport, merged, ofBrokenFile } from '../../tools/vitest-report.ts'

const report = (...files: { status?: string; message?: string; tests: readonly [string, string, string?][] }[]) => {
  const all = files.flatMap(({ tests }) => tests)
  return {
    numPassedTests: all.filter(([, status]) => status === 'passed').length,
    numFailedTests: all.filter(([, status]) => status === 'failed').length,
    numFailedTestSuites: files.filter(({ status }) => status === 'failed').length,
    testResults: files.map(({ status = 'passed', message = '', tests }, i) => ({
      name: `file-${i}`,
      status,
      message,
      assertionResults: tests.map(([fullName, status, failure]) => ({
        fullName,
        status,
        failureMessages: failure === undefined ? [] : [failure],
      })),
    })),
  }
}

test('a case that failed is named with the first line of why', () => {
  const { failed, failures } = countReport(
    report({
      status: 'failed',
      tests: [
        ['adds', 'passed'],
        ['takes away', 'failed', 'Error: 1 is not 2\n    at line 3'],
      ],
    }),
  )
  expect(failed).toBe(1)
  expect(failures).toEqual(['file-0: takes away: Error: 1 is not 2'])
})

test('a file that could not be run counts as one failure beside the cases that failed elsewhere', () => {
  const { failed, failures } = countReport(
    report(
      { status: 'failed', message: 'Cannot find module\nx', tests: [] },
      { status: 'failed', tests: [['adds', 'failed', 'no']] },
    ),
  )
  expect(failed).toBe(2)
  expect(failures[0]).toBe('file-0: Cannot find module')
})

test('skipped cases are counted under the reason in their name', () => {
  const { skipped, reasons } = countReport(
    report({
      tests: [
        ['devices (skipped: no module; see there) opens', 'skipped'],
        ['devices (skipped: no module; see there) closes', 'skipped'],
        ['later', 'todo'],
      ],
    }),
  )
  expect(skipped).toBe(3)
  expect([...reasons]).toEqual([
    ['no module; see there', 2],
    ['later', 1],
  ])
})

test('reports of files that ran by themselves count as one, and a file that left none as one failure', () => {
  const { passed, failed, failures } = countReport(
    merged([
      report({ tests: [['adds', 'passed']] }),
      ofBrokenFile('takes-away.test.ts', 'no report, and status 124'),
      report({ status: 'failed', tests: [['multiplies', 'failed', 'no']] }),
    ]),
  )
  expect({ passed, failed }).toEqual({ passed: 1, failed: 2 })
  expect(failures).toEqual(['takes-away.test.ts: no report, and status 124', 'file-0: multiplies: no'])
})
