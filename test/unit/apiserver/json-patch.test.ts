import { describe, expect, it } from 'vitest'
import type { Json } from '#src/lab/apiserver/json.ts'
import { jsonPatch } from '#src/lab/apiserver/json-patch.ts'

describe('JSON patch', () => {
  // After the examples of RFC 6902, appendix A.
  it.each<[string, Json, Json, Json]>([
    ['adds a member', { foo: 'bar' }, [{ op: 'add', path: '/baz', value: 'qux' }], { foo: 'bar', baz: 'qux' }],
    [
      'adds in the middle of a list',
      { foo: ['a', 'c'] },
      [{ op: 'add', path: '/foo/1', value: 'b' }],
      { foo: ['a', 'b', 'c'] },
    ],
    ['adds at the end of a list', { foo: ['a'] }, [{ op: 'add', path: '/foo/-', value: 'b' }], { foo: ['a', 'b'] }],
    ['removes a member', { a: 1, b: 2 }, [{ op: 'remove', path: '/b' }], { a: 1 }],
    ['removes from a list', { a: [1, 2, 3] }, [{ op: 'remove', path: '/a/1' }], { a: [1, 3] }],
    ['replaces', { a: { b: 1 } }, [{ op: 'replace', path: '/a/b', value: null }], { a: { b: null } }],
    ['moves', { a: { b: 1 }, c: {} }, [{ op: 'move', from: '/a/b', path: '/c/d' }], { a: {}, c: { d: 1 } }],
    ['moves in a list', [1, 2, 3], [{ op: 'move', from: '/0', path: '/2' }], [2, 3, 1]],
    ['copies', { a: [1] }, [{ op: 'copy', from: '/a', path: '/b' }], { a: [1], b: [1] }],
    [
      'reads ~0 and ~1 in names',
      { 'a/b': 1, 'c~d': 2 },
      [
        { op: 'remove', path: '/a~1b' },
        { op: 'test', path: '/c~0d', value: 2 },
      ],
      { 'c~d': 2 },
    ],
    ['replaces the whole', { a: 1 }, [{ op: 'replace', path: '', value: { b: 2 } }], { b: 2 }],
  ])('%s', (_, target, patch, patched) => {
    expect(jsonPatch(target, patch)).toEqual(patched)
  })

  it.each<[string, Json, Json]>([
    ['a member that is not there', {}, [{ op: 'remove', path: '/a' }]],
    ['a parent that is not there', {}, [{ op: 'add', path: '/a/b', value: 1 }]],
    ['an index past the end', { a: [1] }, [{ op: 'add', path: '/a/2', value: 1 }]],
    ['an index that is no number', { a: [1] }, [{ op: 'replace', path: '/a/01', value: 1 }]],
    ['a test that fails', { a: 1 }, [{ op: 'test', path: '/a', value: 2 }]],
    ['an operation that there is not', { a: 1 }, [{ op: 'increment', path: '/a' }]],
  ])('refuses %s with 422', (_, target, patch) => {
    expect(() => jsonPatch(target, patch)).toThrow(expect.objectContaining({ code: 422 }))
  })

  it.each<[string, Json]>([
    ['is no list', {}],
    ['has a path that is no pointer', [{ op: 'remove', path: 'a' }]],
    ['adds without a value', [{ op: 'add', path: '/a' }]],
  ])('refuses with 400 what %s', (_, patch) => {
    expect(() => jsonPatch({ a: 1 }, patch)).toThrow(expect.objectContaining({ code: 400 }))
  })
})
