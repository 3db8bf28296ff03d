import type { DeviceIdentity, FamilyConfig } from '#src/mesh/family-view.ts'
import { SPARE_DEVICES } from '#src/mesh/marks.ts'
import { LANES, type Lane } from '#src/mesh/node-record.ts'
import type { Family } from '#wg/ip.ts'
import type { Ownership } from '#wg/reconcile/desired.ts'
import { sameSet } from '#wg/same-set.ts'

interface Named {
  readonly config: FamilyConfig
  readonly identities: Readonly<Record<Lane, DeviceIdentity | undefined>>
}

/** What of the kernel is ours by what is asked for now. */
export const ownershipOf = (family: Family, { config, identities }: Named): Ownership => ({
  family,
  deviceNames: new Set([
    ...LANES.map(lane => identities[lane]?.name).filter(name => name !== undefined),
    config.interfaceName,
    SPARE_DEVICES[family],
  ]),
  tables: new Set(Object.values(config.tables)),
  hostTable: config.hostTable,
})

/** What is ours by either; the later one says which table is for hosts. */
export const bothOwned = (a: Ownership, b: Ownership): Ownership => ({
  family: b.family,
  deviceNames: a.deviceNames.union(b.deviceNames),
  tables: a.tables.union(b.tables),
  hostTable: b.hostTable,
})

export const sameOwnership = (a: Ownership, b: Ownership): boolean =>
  sameSet(a.deviceNames, b.deviceNames) && sameSet(a.tables, b.tables)
