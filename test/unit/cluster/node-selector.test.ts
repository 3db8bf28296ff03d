import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseNodeSelector } from '#src/cluster/node-selector.ts'

const labels = { zone: 'a-1', 'kubernetes.io/os': 'linux', empty: '' }

describe('a selector of Calico’s', () => {
  it.each([
    ['', true],
    ['all()', true],
    ['has(zone)', true],
    ['has(rack)', false],
    ['!has(rack)', true],
    ["zone == 'a-1'", true],
    ['zone == "b"', false],
    ["zone != 'b'", true],
    ["rack != 'b'", true],
    ["rack == ''", false],
    ["empty == ''", true],
    ["kubernetes.io/os in { 'linux', 'windows' }", true],
    ["rack in {'b'}", false],
    ["rack not in {'b'}", true],
    ["zone not  in { 'a-1' }", false],
    ['zone in {}', false],
    ["zone contains '-'", true],
    ["zone starts with 'a'", true],
    ["zone ends with 'a'", false],
    ["has(zone) && kubernetes.io/os == 'windows'", false],
    ["has(rack) || zone == 'a-1'", true],
    ['has(rack) || has(zone) && has(rack)', false],
    ["(has(rack) || has(zone)) && !(zone == 'b')", true],
    ["all == 'x'", false],
    ['has(constructor)', false],
  ])('%s', (text, meant) => expect(parseNodeSelector(text)(labels)).toBe(meant))

  it.each([
    ['zone ==', 'its end is no quoted text'],
    ['zone', 'its end is no operator'],
    ["zone = 'a'", 'is not understood'],
    ["== 'a'", '== is no label'],
    ['has(zone', 'there is no ) where one should be'],
    ["zone in 'a'", 'there is no { where one should be'],
    ['has(zone) has(rack)', 'has has no place there'],
    ['!'.repeat(100), 'nested deeper'],
    ['('.repeat(100), 'nested deeper'],
    [`zone == '${'a'.repeat(1024)}'`, 'longer than 1024'],
  ])('%s is refused: %s', (text, why) => expect(() => parseNodeSelector(text)).toThrow(why))

  it('of whatever text is understood or refused, and never anything else', () => {
    const pieces = fc.constantFrom(
      'has',
      '(',
      ')',
      '!',
      '&&',
      '||',
      'zone',
      "'a'",
      '==',
      'in',
      'not in',
      '{',
      '}',
      ',',
      '"',
      ' ',
    )
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), parts => {
        try {
          expect(typeof parseNodeSelector(parts.join(' '))(labels)).toBe('boolean')
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
        }
      }),
    )
  })
})
