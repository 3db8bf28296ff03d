// record-size.ts COUNT: prints the bytes of heap that one Node takes of which an agent keeps what it needs, alone, without what is
// planned of it. Takes --expose-gc.
import { projectNode } from '#src/cluster/node-record.ts'
import { largeNode } from './node-object.ts'

const count = Number(process.argv[2])
const records: unknown[] = []

function inUse(): number {
  for (let turn = 0; turn < 2; turn++) globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

function keep(index: number): void {
  // As it comes off the wire: what was parsed goes, and no string of it is shared.
  const record = projectNode(JSON.parse(JSON.stringify(largeNode(index))))
  if (record) records.push(record)
}

// Compiled by the first ones.
for (let index = 0; index < count; index++) keep(index)
const before = inUse()
for (let index = count; index < 2 * count; index++) keep(index)
console.log((inUse() - before) / (records.length - count))
