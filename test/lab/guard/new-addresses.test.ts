import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'
import { POD_SUPERNETS } from '#src/lab/plan.ts'
import { must } from '#src/lab/run.ts'
import { clearPodFrames, underlayDelta } from '#src/lab/underlay-watch.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { caseLimit, limit, meshNeeds, profile } from '../mesh/support/profile.ts'
import { createBlock, eachBlock, expectEncrypted } from '../mesh/support/sources.ts'
import { nodeOf, onNode, untilEncrypted, withEncryptedMesh } from '../mesh/support/with-mesh.ts'
import { ClearFrames } from './support/clear-frames.ts'
import { counted, type GuardMode, guardOf, patchPodveil } from './support/cluster.ts'
import { Pinger } from './support/pinger.ts'
import { tell } from './support/tell.ts'

const DEVICE = 'wireguard.cali'
const ADDITIONS = profile.long ? 100 : 10
/** Milliseconds between two requests to the new address. */
const EVERY = 1_000 / Math.min(100, profile.rate)
/** Requests that are sent before anybody has told the agents of the address. */
const BEFORE = 3

interface Added {
  readonly cidr: string
  /** Of a pod on the owner. */
  readonly address: string
}

const added = (index: number): Added => ({
  cidr: `10.244.${64 + index}.0/26`,
  address: `10.244.${64 + index}.10`,
})

/** What a CNI has done before Calico's block can be read by anybody: the owner's pod has the addresses, and nodes know the way. */
async function giveAll(lab: Lab, owner: LabNode): Promise<void> {
  const addresses = Array.from({ length: ADDITIONS }, (_, index) => added(index).address)
  const all = addresses.map(address => `address add ${address}/32 dev eth0\n`).join('')
  await must(inNamespace(owner.pod.namespace, ['ip', '-batch', '-']), { input: all })
  for (const node of lab.nodes) {
    const way = node === owner ? 'dev veth-pod' : `via ${owner.addresses[0]} dev eth0`
    for (const cidr of ['10.244.64.0/18', '10.244.128.0/18']) await onNode(node, `ip route add ${cidr} ${way}`)
  }
}

/** Echo requests that have reached the pod. */
async function countRequests({ pod }: LabNode): Promise<() => Promise<number>> {
  const ruleset = `
    table ip test_count {
      counter requests {}
      chain arriving {
        type filter hook prerouting priority 0
        icmp type echo-request counter name requests
      }
    }`
  await must(inNamespace(pod.namespace, ['nft', '-f', '-']), { input: ruleset })
  return async () => {
    const text = await must(inNamespace(pod.namespace, ['nft', 'list', 'counter', 'ip', 'test_count', 'requests']))
    return Number(/packets (\d+)/.exec(text)?.[1])
  }
}

/** Unix time in milliseconds at which the node's kernel first had it, looked for every few milliseconds. */
async function firstHeld(node: LabNode, show: string, text: string): Promise<number> {
  const look = `until ${show} | grep -qF '${text}'; do sleep 0.005; done; date +%s%N`
  const { status, stdout, stderr } = await node.exec(['sh', '-c', look], { timeoutMs: limit(20_000) })
  if (status !== 0) throw new Error(`${node.name} never had ${text}: ${stderr}`)
  return Number(stdout) / 1e6
}

interface Learning {
  /** Milliseconds from the owner's having it in its kernel until the last peer accepts it. */
  readonly fromOwner: number
  /** Milliseconds from when it was written to the API. */
  readonly fromWritten: number
}

/** Tells the cluster of a new block, and returns when all peers accept what comes from it. */
async function add(lab: Lab, owner: LabNode, { cidr }: Added): Promise<Learning> {
  const learned = firstHeld(owner, 'ip -4 rule', `from ${cidr} `)
  const peers = lab.nodes.filter(node => node !== owner)
  const accepted = peers.map(node => firstHeld(node, `wg show ${DEVICE} allowed-ips`, cidr))
  const written = Date.now()
  await createBlock(lab, cidr, owner.name)
  const last = Math.max(...(await Promise.all(accepted)))
  return { fromOwner: Math.max(0, last - (await learned)), fromWritten: last - written }
}

function distribution(values: readonly number[]): object {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number) => Math.round(sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN)
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}

describeLab('an address that no other node knows of yet', meshNeeds, () => {
  test.each<{ guard: GuardMode; what: string }>([
    { guard: 'off', what: 'what is sent to it goes in clear, and arrives, all of it' },
    { guard: 'audit', what: 'what is sent to it goes in clear, is counted, and arrives, all of it' },
    { guard: 'enforce', what: 'what is sent to it is dropped, and nothing is in clear' },
  ])(
    `${ADDITIONS} times with the guard on $guard: $what, until every peer has learned of it`,
    async ({ guard }) => {
      await withEncryptedMesh({ nodes: 3, families: '4' }, async lab => {
        const [one, owner] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        await eachBlock(lab)
        await patchPodveil(lab, { guard, podSupernets: [POD_SUPERNETS[4]] })
        for (const node of lab.nodes) {
          await waitFor(async () => (await guardOf(node)) === guard, limit(20_000), `${node.name} to be on ${guard}`)
          await waitFor(
            async () => (await onNode(node, 'ip route show table 1')).includes('/26 dev'),
            limit(20_000),
            `${node.name} to go by the blocks`,
          )
        }
        if (guard !== 'off')
          await waitFor(
            async () => (await onNode(one, 'nft list table inet podveil')).includes(POD_SUPERNETS[4]),
            limit(20_000),
            'the guard to know where pods are',
          )
        await untilEncrypted(lab)
        await giveAll(lab, owner)
        const requests = await countRequests(owner)
        const dropped = () => counted(one, ['out_to_pod'])
        // The owner's guard holds closed too what its own agent has not read of.
        const droppedThere = () => counted(owner, ['out_to_pod'])
        await using frames = await ClearFrames.start(lab)
        const before = await lab.underlay.snapshot()

        const learned: Learning[] = []
        const sum = { sent: 0, arrived: 0, answered: 0 }
        const [droppedBefore, thereBefore] = [await dropped(), await droppedThere()]
        for (let index = 0; index < ADDITIONS; index++) {
          const block = added(index)
          const [arrivedBefore, dropsBefore] = [await requests(), await dropped()]
          await using pinger = new Pinger(one.pod, block.address, EVERY)
          await waitFor(
            async () =>
              guard === 'enforce'
                ? (await dropped()) - dropsBefore >= BEFORE
                : (await requests()) - arrivedBefore >= BEFORE,
            limit(20_000),
            'the first requests',
          )
          learned.push(await add(lab, owner, block))
          const soFar = await requests()
          await waitFor(async () => (await requests()) - soFar >= BEFORE, limit(20_000), 'requests by the tunnel')
          const { sent, answered } = await pinger.stop()
          sum.sent += sent
          sum.answered += answered
          sum.arrived += (await requests()) - arrivedBefore
        }
        const clear = clearPodFrames(underlayDelta(before, await lab.underlay.snapshot()))
        const drops = (await dropped()) - droppedBefore
        const dropsThere = (await droppedThere()) - thereBefore
        tell(`${ADDITIONS} new addresses with the guard on ${guard}`, {
          fromOwner: distribution(learned.map(({ fromOwner }) => fromOwner)),
          fromWritten: distribution(learned.map(({ fromWritten }) => fromWritten)),
          ...{ ...sum, clear, counted: drops, countedByOwner: dropsThere },
        })
        if (guard === 'enforce') {
          expect(clear, frames.text).toBe(0)
          expect(drops).toBeGreaterThanOrEqual(BEFORE * ADDITIONS)
          expect(sum.arrived).toBe(sum.sent - drops - dropsThere)
        } else {
          expect(clear).toBeGreaterThanOrEqual(BEFORE * ADDITIONS)
          expect(sum.arrived).toBe(sum.sent)
          expect(drops).toBe(guard === 'audit' ? clear : 0)
        }
        for (let index = 0; index < ADDITIONS; index++) await expectEncrypted(lab, one.pod, added(index).address)
      })
    },
    caseLimit(90),
  )
})
