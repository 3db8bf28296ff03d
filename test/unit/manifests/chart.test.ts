import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { chartFiles } from '../../../scripts/generate-chart.ts'
import { filesBelow, read } from '../docs/support.ts'

const FILES = chartFiles()

test('manifests/chart is what the kustomizations say: node scripts/generate-chart.ts makes it anew', () => {
  for (const [path, content] of FILES) expect(read(`manifests/chart/${path}`), path).toBe(content)
  expect(filesBelow('manifests/chart', '').filter(path => /\.\w+$/.test(path))).toHaveLength(FILES.size)
})

interface Schema {
  readonly additionalProperties?: unknown
  readonly properties?: Readonly<Record<string, Schema>>
}

describe('the chart’s values', () => {
  const values = parse(read('manifests/chart/values.yaml')) as object
  const schema = JSON.parse(read('manifests/chart/values.schema.json')) as Schema

  test('each have a schema, and a name that has none is refused', () => {
    const check = (value: unknown, { properties, additionalProperties }: Schema, path: string): void => {
      expect(additionalProperties, path).toBe(false)
      for (const [name, inner] of Object.entries(value as object)) {
        expect(properties, path).toHaveProperty(name)
        const next = properties?.[name]
        if (next?.properties) check(inner, next, `${path}.${name}`)
      }
    }
    check(values, schema, 'values')
  })

  test('are each used by a template', () => {
    const templates = [...FILES].filter(([path]) => path.startsWith('templates/')).map(([, content]) => content)
    const leaves = (value: object, path: string): string[] =>
      Object.entries(value).flatMap(([name, inner]) => {
        const here = `${path}.${name}`
        const { properties } = here
          .split('.')
          .slice(2)
          .reduce<Schema>((at, key) => at.properties?.[key] ?? {}, schema)
        return properties ? leaves(inner as object, here) : [here]
      })
    for (const leaf of leaves(values, '.Values')) expect(templates.join('\n'), leaf).toContain(leaf)
  })
})
