import { describe, expect, it } from 'vitest'
import { ageOf } from '#src/lab/apiserver/age.ts'
import { jsonPath } from '#src/lab/apiserver/json-path.ts'
import { parseAddress } from '#src/lab/apiserver/listeners.ts'
import { pathTemplate, targetOf } from '#src/lab/apiserver/request-path.ts'

describe('the path of a request', () => {
  it.each([
    ['/api/v1/nodes', { group: '', version: 'v1', plural: 'nodes' }],
    ['/api/v1/nodes/a/status', { plural: 'nodes', name: 'a', subresource: 'status' }],
    ['/api/v1/namespaces', { plural: 'namespaces', namespace: undefined }],
    ['/api/v1/namespaces/x', { plural: 'namespaces', name: 'x', namespace: undefined }],
    ['/api/v1/namespaces/x/status', { plural: 'namespaces', name: 'x', subresource: 'status' }],
    ['/api/v1/namespaces/x/pods/p', { plural: 'pods', namespace: 'x', name: 'p' }],
    ['/apis/podveil.io/v1alpha1/podveilconfigurations/node.a', { group: 'podveil.io', name: 'node.a' }],
    ['/apis/events.k8s.io/v1/namespaces/x/events', { group: 'events.k8s.io', namespace: 'x', plural: 'events' }],
    ['/api/v1/nodes/a%20b', { name: 'a b' }],
  ])('%s names what it is about', (path, target) => {
    expect(targetOf(path)).toMatchObject(target)
  })

  it.each([
    '/',
    '/api',
    '/api/v1',
    '/apis/podveil.io/v1alpha1',
    '/version',
    '/api/v1/nodes/a/b/c',
    '/api/v1/%zz',
    '/api/v1//nodes',
  ])('%s is about no object', path => {
    expect(targetOf(path)).toBeUndefined()
  })

  it.each([
    ['/api/v1/nodes/a/status', '/api/v1/nodes/{name}/status'],
    ['/api/v1/namespaces/x/pods', '/api/v1/namespaces/{namespace}/pods'],
  ])('%s counts as %s', (path, template) => {
    const target = targetOf(path)
    expect(target && pathTemplate(target)).toBe(template)
  })
})

describe('an address to listen on', () => {
  it.each([
    ['127.0.0.1:6443', { host: '127.0.0.1', port: 6443 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['localhost:80', { host: 'localhost', port: 80 }],
  ])('%s', (text, address) => {
    expect(parseAddress(text)).toEqual(address)
  })

  it.each(['::1:80', '127.0.0.1', ':80', '127.0.0.1:65536', '[::1]', 'a:b'])('%s is none', text => {
    expect(() => parseAddress(text)).toThrow(RangeError)
  })
})

describe('an age', () => {
  const MINUTE = 60
  const HOUR = 60 * MINUTE
  const DAY = 24 * HOUR
  it.each([
    [0, '0s'],
    [119, '119s'],
    [2 * MINUTE, '2m'],
    [5 * MINUTE + 7, '5m7s'],
    [179 * MINUTE, '179m'],
    [3 * HOUR, '3h'],
    [7 * HOUR + 5 * MINUTE, '7h5m'],
    [47 * HOUR, '47h'],
    [2 * DAY + 3 * HOUR, '2d3h'],
    [8 * DAY, '8d'],
    [3 * 365 * DAY + 4 * DAY, '3y4d'],
    [9 * 365 * DAY, '9y'],
  ])('of %i seconds reads %s', (seconds, text) => {
    const now = Date.parse('2026-01-02T03:04:05Z')
    expect(ageOf(new Date(now - seconds * 1000).toISOString(), now)).toBe(text)
  })

  it('of something that has no time is unknown', () => {
    expect(ageOf('', 0)).toBe('<unknown>')
  })
})

describe('the JSONPath of a column', () => {
  const object = {
    spec: {
      list: [
        { type: 'A', v: 1 },
        { type: 'B', v: 2 },
      ],
      'dotted.key': 3,
    },
  }
  it.each([
    ['.spec.list[0].v', [1]],
    ['.spec.list[*].v', [1, 2]],
    ['.spec.list[?(@.type=="B")].v', [2]],
    [".spec['dotted.key']", [3]],
    ['.spec.not.there', []],
    ['{.spec}', []],
  ])('%s', (path, found) => {
    expect(jsonPath(path)(object)).toEqual(found)
  })
})
