import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

export const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

/** Paths below a directory, from the root. */
export const filesBelow = (directory: string, ending: string): string[] =>
  readdirSync(join(ROOT, directory), { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith(ending))
    .sort()
    .map(file => join(directory, file))

/** README and everything in docs/. */
export const documents = (): string[] => ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', ...filesBelow('docs', '.md')]

/** What the program is made of, as one text. */
export const sources = (...directories: readonly string[]): string =>
  directories.flatMap(directory => filesBelow(directory, '.ts').map(read)).join('\n')

/** First cells of the rows of all tables whose head begins with this cell. */
export function firstCells(markdown: string, head: string): string[] {
  const cells: string[] = []
  let inside = false
  for (const line of markdown.split('\n')) {
    const [, cell] = /^\| ?(.*?) ?(?<!\\)\|/.exec(line) ?? []
    if (cell === undefined) inside = false
    else if (cell === head) inside = true
    else if (inside && !/^-+$/.test(cell)) cells.push(cell)
  }
  return cells
}

/** What is set in code. */
export const inCode = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code)
