import { describe, expect, it } from 'vitest'
import type { JsonObject } from '#src/lab/apiserver/json.ts'
import { strategicMergePatch } from '#src/lab/apiserver/strategic-merge-patch.ts'

const keys = { 'status.conditions': 'type', 'metadata.finalizers': '' }

describe('strategic merge patch', () => {
  it.each<[string, JsonObject, JsonObject, JsonObject]>([
    ['merges objects', { spec: { a: 1 } }, { spec: { b: 2 } }, { spec: { a: 1, b: 2 } }],
    ['deletes by null', { spec: { a: 1, b: 2 } }, { spec: { a: null } }, { spec: { b: 2 } }],
    [
      'replaces a list that has no key',
      { spec: { taints: [1] } },
      { spec: { taints: [2] } },
      { spec: { taints: [2] } },
    ],
    [
      'merges a list by its key, in place',
      { status: { conditions: [{ type: 'A', status: 'True', at: 1 }, { type: 'B' }] } },
      { status: { conditions: [{ type: 'A', status: 'False' }, { type: 'C' }] } },
      { status: { conditions: [{ type: 'A', status: 'False', at: 1 }, { type: 'B' }, { type: 'C' }] } },
    ],
    [
      'deletes an item by its key',
      { status: { conditions: [{ type: 'A' }, { type: 'B' }] } },
      { status: { conditions: [{ type: 'A', $patch: 'delete' }] } },
      { status: { conditions: [{ type: 'B' }] } },
    ],
    [
      'replaces a list where it is told to',
      { status: { conditions: [{ type: 'A' }] } },
      { status: { conditions: [{ $patch: 'replace' }, { type: 'B' }] } },
      { status: { conditions: [{ type: 'B' }] } },
    ],
    [
      'replaces an object where it is told to',
      { spec: { a: 1 } },
      { spec: { $patch: 'replace', b: 2 } },
      { spec: { b: 2 } },
    ],
    ['deletes an object where it is told to', { spec: { a: 1 } }, { spec: { $patch: 'delete' } }, {}],
    [
      'adds to a set what is not in it',
      { metadata: { finalizers: ['a', 'b'] } },
      { metadata: { finalizers: ['b', 'c'] } },
      { metadata: { finalizers: ['a', 'b', 'c'] } },
    ],
    [
      'takes from a set',
      { metadata: { finalizers: ['a', 'b'] } },
      { metadata: { '$deleteFromPrimitiveList/finalizers': ['a'] } },
      { metadata: { finalizers: ['b'] } },
    ],
    [
      'pays no heed to wishes of order',
      { status: { conditions: [{ type: 'A' }] } },
      { status: { '$setElementOrder/conditions': [{ type: 'A' }] } },
      { status: { conditions: [{ type: 'A' }] } },
    ],
  ])('%s', (_, target, patch, merged) => {
    expect(strategicMergePatch(target, patch, keys)).toEqual(merged)
  })
})
