// What one Pod's coming and going costs the index of who has which address, beside 100,000 others: run by hand, see README.md.
import { CidrOwners } from '#src/mesh/cidr-owners.ts'
import { blockClaimant, type IpamBlock } from '#src/mesh/ipam-block.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { workloadClaimant } from '#src/mesh/workload.ts'
import { hostCidr, nthAddress, parseCidr } from '#wg/ip.ts'

const NODES = 5_000
const CHANGES = 20_000
const POOL = parseCidr('10.0.0.0/8')

const nodeName = (index: number): NodeName => `node-${index % NODES}` as NodeName

function address(index: number) {
  const found = nthAddress(POOL, index)
  if (found === undefined) throw new RangeError(`the pool has no address ${index}`)
  return found
}

const pod = (index: number, node = nodeName(index)) =>
  workloadClaimant({ id: `default/pod-${index}`, createdAt: index, leaving: false, node, addresses: [address(index)] })

/** A block of 64, of whose addresses some are lent. */
const block = (index: number, lent: readonly number[] = []) =>
  blockClaimant({
    name: `block-${index}`,
    cidr: parseCidr(`${address(index * 64)}/26`),
    createdAt: index,
    affinity: nodeName(index),
    elsewhere: new Map(lent.map(offset => [hostCidr(address(index * 64 + offset)), nodeName(index + 1)])),
    tunnels: [],
  } satisfies IpamBlock)

/** Microseconds a change: at the median, and of the slowest hundredth. */
function measure(owners: CidrOwners, change: (owners: CidrOwners, round: number) => void): readonly [number, number] {
  const taken: number[] = []
  for (let round = 0; round < CHANGES; round++) {
    const began = performance.now()
    change(owners, round)
    owners.takeChanged()
    taken.push((performance.now() - began) * 1_000)
  }
  taken.sort((a, b) => a - b)
  return [taken[CHANGES / 2] ?? 0, taken[(CHANGES * 99) / 100] ?? 0]
}

console.log('source       pods     load ms  change                µs (median)  µs (99 %)')
for (const pods of [1_000, 10_000, 100_000]) {
  const workloads = new CidrOwners()
  let began = performance.now()
  for (let index = 0; index < pods; index++) workloads.put(pod(index))
  const loaded = performance.now() - began
  row(
    'WorkloadIPs',
    pods,
    loaded,
    'a Pod comes and goes',
    measure(workloads, (owners, round) => {
      owners.put(pod(pods + round))
      owners.remove(`pod default/pod-${pods + round}`)
    }),
  )
  row(
    'WorkloadIPs',
    pods,
    loaded,
    'an address moves',
    measure(workloads, (owners, round) => {
      owners.put(pod(round % pods, nodeName(round)))
    }),
  )
  const blocks = new CidrOwners()
  began = performance.now()
  for (let index = 0; index < pods / 64; index++) blocks.put(block(index))
  const filled = performance.now() - began
  row(
    'CalicoIPAM',
    pods,
    filled,
    'an address is lent',
    measure(blocks, (owners, round) => {
      owners.put(block(round % Math.floor(pods / 64), [round % 64]))
    }),
  )
}

function row(
  source: string,
  pods: number,
  load: number,
  change: string,
  [median, late]: readonly [number, number],
): void {
  const cells = [source.padEnd(11), String(pods).padStart(7), load.toFixed(0).padStart(10), ` ${change.padEnd(21)}`]
  console.log(cells.join(' '), median.toFixed(1).padStart(11), late.toFixed(1).padStart(10))
}
