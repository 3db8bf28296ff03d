import { expect, test } from 'vitest'
import { FRAME_CLASSES, parseCounters, underlayDelta } from '#src/lab/underlay-watch.ts'

/** As nft 1.0.6 prints `-j list counters`. */
const printed = (packets: number, names: readonly string[]): string =>
  JSON.stringify({
    nftables: [
      { metainfo: { version: '1.0.6', json_schema_version: 1 } },
      ...names.map((name, i) => ({
        counter: {
          family: 'bridge',
          name,
          table: 'podveil_lab',
          handle: i,
          packets: packets + i,
          bytes: 100 * packets,
        },
      })),
    ],
  })

const ALL = FRAME_CLASSES.map(name => `c_${name}`)

test('what crossed between two snapshots is their difference, class by class', () => {
  const delta = underlayDelta(parseCounters(printed(1, ALL)), parseCounters(printed(4, ALL)))
  for (const name of FRAME_CLASSES) expect(delta[name]).toEqual({ packets: 3, bytes: 300 })
})

test('a class that is not counted is an error, and never zero', () => {
  expect(() => parseCounters(printed(1, ALL.slice(1)))).toThrow(/no counter for wireguard4/)
})
