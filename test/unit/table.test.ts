import { describe, expect, test } from 'vitest'
import { Follower, Table } from '#wg/table.ts'

describe('who follows a table', () => {
  const followed = () => {
    const table = Table.from([
      ['a', 1],
      ['b', 2],
    ])
    const follower = new Follower<string>()
    follower.take(table)
    return { table, follower }
  }

  test('is told of everything at the first look', () => {
    expect(new Follower().take(Table.from([['a', 1]]))).toBeUndefined()
  })

  test('is told what was put, replaced and taken away since the last look, and nothing twice', () => {
    const { table, follower } = followed()
    table.set('a', 3)
    table.set('c', 4)
    table.delete('b')
    expect(follower.take(table)).toEqual(new Set(['a', 'b', 'c']))
    expect(follower.take(table)).toEqual(new Set())
  })

  test('is not told of a value that was put in its own place', () => {
    const { table, follower } = followed()
    table.set('a', 1)
    table.delete('nobody')
    expect(follower.take(table)).toEqual(new Set())
  })

  test('is not told of a value that was revised, and finds it there', () => {
    const { table, follower } = followed()
    table.revise('a', 5)
    expect(follower.take(table)).toEqual(new Set())
    expect(table.get('a')).toBe(5)
  })

  test('is told of what came by a revision', () => {
    const { table, follower } = followed()
    table.revise('c', 5)
    expect(follower.take(table)).toEqual(new Set(['c']))
  })

  test('is told of all that a clearing took', () => {
    const { table, follower } = followed()
    table.clear()
    expect(follower.take(table)).toEqual(new Set(['a', 'b']))
  })

  test('looks at everything where another table has taken the place of the one before, or a map that tells nothing', () => {
    const { follower } = followed()
    expect(follower.take(Table.from([['a', 1]]))).toBeUndefined()
    const map = new Map([['a', 1]])
    follower.take(map)
    expect(follower.take(map)).toBeUndefined()
  })

  test('looks at everything where more has changed than is remembered', () => {
    const { table, follower } = followed()
    for (let turn = 0; turn < 10_000; turn++) table.set('a', turn)
    expect(follower.take(table)).toBeUndefined()
    table.set('b', 0)
    expect(follower.take(table)).toEqual(new Set(['b']))
  })
})
