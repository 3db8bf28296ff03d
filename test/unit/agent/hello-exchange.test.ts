import { expect, test } from 'vitest'
import { HelloExchange } from '#src/agent/hello-exchange.ts'
import { PathMtus } from '#src/agent/path-mtus.ts'
import { PROBE_TIMES } from '#src/hello/path-prober.ts'
import { parseAddress } from '#wg/ip.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'

const ADDRESS = parseAddress('10.244.1.1')

test('says once why hellos cannot be spoken, however often it is tried, and again where that is another reason', () => {
  const log = recordingLogger()
  const wake = () => {}
  const hellos = new HelloExchange(log, wake, new PathMtus(4, PROBE_TIMES, log, wake))
  const tryOn = (device: string) => {
    for (let pass = 0; pass < 100; pass++) hellos.open({ device, index: undefined, address: ADDRESS })
  }
  tryOn('not-there')
  tryOn('nor-this')
  expect(log.lines).toEqual([
    expect.stringMatching(/^warn cannot speak hello on not-there, trying again: .*ENODEV/),
    expect.stringMatching(/^warn cannot speak hello on nor-this, trying again: .*ENODEV/),
  ])
})
