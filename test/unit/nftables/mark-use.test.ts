import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { markUses } from '#wg/nftables/mark-use.ts'

const MARK = 0x20_0000
const META = { meta: { key: 'mark' } }
const CT = { ct: { key: 'mark' } }
const set = (value: unknown, key: object = META) => ({ mangle: { key, value } })
const match = (left: unknown, right: unknown) => ({ match: { op: '==', left, right } })

const listing = (expr: readonly unknown[], table = 'filter') => ({
  nftables: [
    { metainfo: { json_schema_version: 1 } },
    { table: { family: 'ip', name: table } },
    { rule: { family: 'ip', table, chain: 'output', handle: 3, expr } },
  ],
})

const FOUND = ['chain output of table ip filter']

// As nft 1.0.6 writes them, in the words that it was given.
const USES: readonly (readonly [string, unknown])[] = [
  ['meta mark set 0x200000', set(0x20_0000)],
  ['meta mark set mark or 0x200000', set({ '|': [META, 0x20_0000] })],
  ['meta mark set mark and 0xffdfffff', set({ '&': [META, 0xff_df_ff_ff] })],
  ['meta mark set mark xor 0x200000', set({ '^': [META, 0x20_0000] })],
  ['ct mark set mark and 0xff000000 or 0x1', set({ '|': [{ '&': [META, 0xff_00_00_01] }, 1] }, CT)],
  ['meta mark and 0x300000 == 0x100000', match({ '&': [META, 0x30_0000] }, 0x10_0000)],
  ['ct mark and 0x200000 != 0', match({ '&': [CT, 0x20_0000] }, 0)],
  ['mark 0x200000', match(META, 0x20_0000)],
  ['mark { 0x1, 0x200000 }', match(META, { set: [1, 0x20_0000] })],
  ['mark 0x100000-0x2fffff', match(META, { range: [0x10_0000, 0x2f_ffff] })],
  ['mark vmap { 0x200000 : drop }', { vmap: { key: META, data: { set: [[0x20_0000, { drop: null }]] } } }],
]

const OTHERS: readonly (readonly [string, unknown])[] = [
  ['meta mark set mark or 0x4000, as kube-proxy does', set({ '|': [META, 0x4000] })],
  ['meta mark set mark and 0xffffbfff', set({ '&': [META, 0xff_ff_bf_ff] })],
  ['mark and 0x8000 == 0x8000', match({ '&': [META, 0x8000] }, 0x8000)],
  ['mark 0x5', match(META, 5)],
  ['meta mark set ct mark', set(CT)],
  ['ip daddr of that number', match({ payload: { protocol: 'ip', field: 'daddr' } }, 0x20_0000)],
  ['a target of xtables', { xt: null }],
]

describe('our bit of the mark in somebody else’s rules', () => {
  it.each(USES)('is found in: %s', (_, statement) => {
    expect(markUses(listing([statement, { accept: null }]), MARK, 'podveil')).toEqual(FOUND)
  })

  it.each(OTHERS)('is not seen in: %s', (_, statement) => {
    expect(markUses(listing([statement]), MARK, 'podveil')).toEqual([])
  })

  it('is ours in our own table, and each chain is told once', () => {
    const statement = set(MARK)
    expect(markUses(listing([statement], 'podveil'), MARK, 'podveil')).toEqual([])
    const twice = { nftables: [...listing([statement]).nftables, ...listing([statement]).nftables] }
    expect(markUses(twice, MARK, 'podveil')).toEqual(FOUND)
  })

  it('is looked for in whatever nft may say without a fault', () => {
    fc.assert(
      fc.property(fc.jsonValue(), value => {
        markUses(value, MARK, 'podveil')
        markUses({ nftables: value }, MARK, 'podveil')
        expect(markUses(listing([value]), MARK, 'podveil').length).toBeLessThan(2)
      }),
    )
  })
})
