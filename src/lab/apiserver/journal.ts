import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { keyOf, type StoredObject } from './object.ts'
import type { ChangeListener, StoreState } from './store.ts'

/** What the data directory holds cannot be read. */
export class DataDirectoryError extends Error {
  override readonly name = 'DataDirectoryError'
  readonly code = 'ERR_DATA_DIRECTORY'
  constructor(file: string, cause: unknown) {
    super(`${file} cannot be read; remove the data directory to begin with an empty cluster`, { cause })
  }
}

interface JournalLine {
  readonly revision: number
  readonly collection: string
  readonly key: string
  /** null where it was deleted. */
  readonly object: StoredObject | null
}

/** Past this many characters the journal is folded into the snapshot. */
const FOLD_AT = 16 * 1024 * 1024

/**
 * The store on disk: a snapshot, and a journal of the writes since. A write is in the journal before it is answered, so
 * what a client was told survives the death of the process (not of the machine: nothing waits for the disk).
 */
export class Journal {
  readonly #snapshotFile: string
  readonly #fd: number
  readonly #loaded: StoreState | undefined
  #written = 0
  #state: (() => StoreState) | undefined

  /** Throws DataDirectoryError. */
  constructor(directory: string) {
    mkdirSync(directory, { recursive: true })
    this.#snapshotFile = join(directory, 'snapshot.json')
    const journalFile = join(directory, 'journal.ndjson')
    this.#loaded = replay(readSnapshot(this.#snapshotFile), readLines(journalFile))
    this.#fd = openSync(journalFile, 'a', 0o600)
  }

  /** What the directory held when it was opened; undefined where it was empty. */
  get loaded(): StoreState | undefined {
    return this.#loaded
  }

  /** Folds what was loaded into one snapshot; from now on, `record` goes to the journal. */
  begin(state: () => StoreState): void {
    this.#state = state
    this.fold()
  }

  readonly record: ChangeListener = (collection, { revision, type, object }) => {
    const line: JournalLine = { revision, collection, key: keyOf(object), object: type === 'DELETED' ? null : object }
    const text = `${JSON.stringify(line)}\n`
    writeSync(this.#fd, text)
    this.#written += text.length
    if (this.#written > FOLD_AT) this.fold()
  }

  /** Writes the snapshot anew, whole or not at all, and empties the journal. */
  fold(): void {
    if (this.#state === undefined) return
    const temporary = `${this.#snapshotFile}.new`
    writeFileSync(temporary, JSON.stringify(this.#state()), { mode: 0o600 })
    renameSync(temporary, this.#snapshotFile)
    ftruncateSync(this.#fd)
    this.#written = 0
  }

  close(): void {
    this.fold()
    closeSync(this.#fd)
  }
}

function readSnapshot(file: string): StoreState | undefined {
  const text = readIfThere(file)
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as StoreState
  } catch (error) {
    throw new DataDirectoryError(file, error)
  }
}

/** The whole lines of the journal; a last one that was cut off when the process died was never answered. */
function readLines(file: string): readonly JournalLine[] {
  const lines = (readIfThere(file) ?? '').split('\n').slice(0, -1)
  try {
    return lines.map(line => JSON.parse(line) as JournalLine)
  } catch (error) {
    throw new DataDirectoryError(file, error)
  }
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new DataDirectoryError(file, error)
  }
}

function replay(snapshot: StoreState | undefined, lines: readonly JournalLine[]): StoreState | undefined {
  if (snapshot === undefined) return undefined
  const collections = new Map(
    Object.entries(snapshot.collections).map(([name, objects]) => [
      name,
      new Map(objects.map(object => [keyOf(object), object])),
    ]),
  )
  let { revision } = snapshot
  for (const line of lines) {
    // Folding writes the snapshot before it empties the journal: what is in both counts once.
    if (line.revision <= snapshot.revision) continue
    revision = line.revision
    const collection = collections.get(line.collection) ?? new Map<string, StoredObject>()
    collections.set(line.collection, collection)
    if (line.object === null) collection.delete(line.key)
    else collection.set(line.key, line.object)
  }
  const state = [...collections].map(([name, objects]) => [name, [...objects.values()]] as const)
  return { revision, collections: Object.fromEntries(state) }
}
