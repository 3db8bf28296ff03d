import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { PACKAGES } from '#src/lab/requirements.ts'

const SETUP = join(import.meta.dirname, '../../../scripts/setup')

/** Debian's own archive has none. */
const BY_HAND = ['kubectl']

test('a machine that has nothing is given every program that the lab runs', () => {
  const [, entries = ''] = /^\s+lab\) echo "([^"]+)"/m.exec(readFileSync(SETUP, 'utf8')) ?? []
  const wanted = Object.entries(PACKAGES).filter(([program]) => !BY_HAND.includes(program))
  expect(entries.split(' ')).toEqual(
    expect.arrayContaining(wanted.map(([program, fromPackage]) => `${program}:${fromPackage}`)),
  )
})
