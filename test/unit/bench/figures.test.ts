import { describe, expect, test } from 'vitest'
import { slopeOf } from '../../bench/agent/soak.ts'
import { parse } from '../../bench/netlink/system-calls.ts'

const COUNTED = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.20    0.001234           1       101           sendmsg
 30.10    0.000600           2       202         3 recvmsg
  0.00    0.000000           0         1           sendto
  0.00    0.000000           0        12           read
------ ----------- ----------- --------- --------- ----------------
100.00    0.001834           5       316         3 total
`

describe('figures of the benchmarks', () => {
  test('calls are counted by kind, failed ones too, and the total is not one of them', () => {
    expect(parse(COUNTED)).toEqual({ sends: 102, receives: 202, all: 316 })
  })

  test('a slope is in units of y for one of x, whatever it starts from', () => {
    expect(slopeOf([0, 1, 2, 3].map(x => [x, 100 + 2.5 * x]))).toBeCloseTo(2.5)
    expect(slopeOf([0, 1, 2, 3].map(x => [x, 100]))).toBeCloseTo(0)
  })
})
