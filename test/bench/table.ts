export type Row = Readonly<Record<string, number | string>>

/** Shows that it goes on, and keeps what was measured should the rest fail. */
export function told(row: Row): Row {
  console.error(JSON.stringify(row))
  return row
}

/** One benchmark's figures. Cells are numbers with their unit in the column's name, or words. */
export interface Table {
  readonly name: string
  readonly title: string
  /** How it was measured, and what it does not say. */
  readonly notes: readonly string[]
  readonly rows: readonly Row[]
}

export function markdown({ title, notes, rows }: Table): string {
  const columns = [...new Set(rows.flatMap(row => Object.keys(row)))]
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [
    `## ${title}`,
    '',
    ...notes.flatMap(note => [note, '']),
    line(columns),
    line(columns.map((_, at) => (typeof rows[0]?.[columns[at] ?? ''] === 'number' ? '---:' : '---'))),
    ...rows.map(row => line(columns.map(column => cell(row[column])))),
    '',
  ].join('\n')
}

function cell(value: number | string | undefined): string {
  if (typeof value !== 'number') return value ?? ''
  if (!Number.isFinite(value)) return '–'
  return Math.abs(value) >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)))
}
