import type { Lab } from '#src/lab/lab.ts'
import { clearPodFrames, underlayDelta, wireguardFrames } from '#src/lab/underlay-watch.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit, profile } from '../../mesh/support/profile.ts'

/** Datagrams a second for each pair of pods and family. What is lost on the way is not the point here. */
export const rate = Math.min(100, profile.rate)

/** What crossed the underlay in a while, as the bridge's own counters have it, and what the pods made of it. */
export interface OnTheWire {
  readonly sent: number
  readonly received: number
  /** Frames with a pod's address outermost. */
  readonly clear: number
  /** WireGuard frames: proof that the counters see anything. */
  readonly tunnelled: number
}

/** Counts everything from now on. */
export async function watchWire(lab: Lab): Promise<() => Promise<OnTheWire>> {
  const read = async () => ({ frames: await lab.underlay.snapshot(), traffic: await lab.traffic.snapshot() })
  const before = await read()
  return async () => {
    const now = await read()
    const delta = underlayDelta(before.frames, now.frames)
    return {
      sent: now.traffic.sent - before.traffic.sent,
      received: now.traffic.received - before.traffic.received,
      clear: clearPodFrames(delta),
      tunnelled: wireguardFrames(delta),
    }
  }
}

/** Lets the pods send for so many seconds at their rate, and tells what crossed the wire meanwhile. */
export async function trafficFor(lab: Lab, seconds: number): Promise<OnTheWire> {
  const read = await watchWire(lab)
  const before = (await lab.traffic.snapshot()).sent
  const flows = lab.plan.nodes.length * (lab.plan.nodes.length - 1) * lab.plan.families.length
  const enough = seconds * rate * flows
  await waitFor(
    async () => (await lab.traffic.snapshot()).sent - before >= enough,
    limit(20_000 + seconds * 1_000),
    `${enough} datagrams to be sent`,
  )
  return await read()
}

/** Returns when nearly all that pods send arrives, and by the tunnel. */
export const untilAllArrives = (lab: Lab): Promise<unknown> =>
  waitFor(
    async () => {
      const wire = await trafficFor(lab, 0.5)
      return (
        (wire.received >= wire.sent * 0.9 && wire.tunnelled >= wire.sent * 0.9) ||
        Promise.reject(new Error(JSON.stringify(wire)))
      )
    },
    limit(40_000),
    'all traffic to arrive through the tunnel',
  )
