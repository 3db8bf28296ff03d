import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PrivateKey } from '#keys/private-key.ts'
import { annotations } from '#src/cluster/annotations.ts'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { meshAnnotations } from '../../mesh/support/node-annotations.ts'
import { limit } from '../../mesh/support/profile.ts'
import { onNode } from '../../mesh/support/with-mesh.ts'
import { annotate, DEVICES } from './cluster.ts'
import { createThief, removeThief } from './thief.ts'

/** Something that goes wrong with encryption between two nodes, and that nobody repairs: the agent concerned is dead. */
export interface Fault {
  readonly name: string
  /** Whether pod packets cross the underlay in clear when there is no guard. */
  readonly leaks: boolean
  /** Whose agent is dead meanwhile. */
  readonly dead: 'one' | 'two'
  /** What node 1 says while its agent runs, as an Event and as a metric. */
  readonly said?: { readonly event: RegExp; readonly metric: RegExp }
  happen(lab: Lab, one: LabNode, two: LabNode): Promise<unknown>
  /** What the agent's return alone does not bring back. */
  undo?(lab: Lab, one: LabNode, two: LabNode): Promise<unknown>
}

const eachDevice = (command: string): string => DEVICES.map(device => command.replaceAll('DEVICE', device)).join('; ')

/** A Pod that is restarted again and again, as its program ends at once. The image is the working one afterwards. */
async function startInVain({ name, agent }: LabNode): Promise<void> {
  const { image } = agent
  const broken = mkdtempSync('/tmp/podveil-image-')
  try {
    writeFileSync(join(broken, 'podveil'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
    agent.image = broken
    await agent.kill()
    for (let starts = 0; starts < 3; starts++) {
      await agent.start()
      await waitFor(() => agent.pid === undefined, limit(10_000), `the broken agent of ${name} to end`)
    }
  } finally {
    agent.image = image
    rmSync(broken, { recursive: true })
  }
}

export const faults: readonly Fault[] = [
  { name: 'the agent is killed', leaks: false, dead: 'one', happen: async () => {} },
  {
    name: 'the device is deleted',
    leaks: true,
    dead: 'one',
    happen: (_, one) => onNode(one, eachDevice('ip link del DEVICE')),
  },
  {
    name: 'the agent’s image is broken, so that each start is in vain, and the device is deleted',
    leaks: true,
    dead: 'one',
    happen: async (_, one) => {
      await startInVain(one)
      await onNode(one, eachDevice('ip link del DEVICE'))
    },
  },
  {
    name: 'the device is down',
    leaks: true,
    dead: 'one',
    happen: (_, one) => onNode(one, eachDevice('ip link set DEVICE down')),
  },
  {
    name: 'the rule is deleted',
    leaks: true,
    dead: 'one',
    happen: (_, one) => onNode(one, 'ip -4 rule del priority 99; ip -6 rule del priority 99'),
  },
  {
    name: 'the routing table is flushed',
    leaks: true,
    dead: 'one',
    happen: (_, one) => onNode(one, 'ip -4 route flush table 1; ip -6 route flush table 1'),
  },
  {
    name: "the device's peers are removed with wg",
    leaks: false,
    dead: 'one',
    happen: (_, one) =>
      onNode(one, eachDevice('for key in $(wg show DEVICE peers); do wg set DEVICE peer "$key" remove; done')),
  },
  {
    name: "a peer's annotations are removed",
    leaks: true,
    dead: 'two',
    happen: (lab, _, two) => annotate(lab, two, { [annotations.publicKey[4]]: null, [annotations.publicKey[6]]: null }),
  },
  {
    name: "a peer's key is forged on its Node",
    leaks: false,
    dead: 'two',
    happen: (lab, _, two) => {
      const forged = PrivateKey.generate().publicKey()
      return annotate(lab, two, { [annotations.publicKey[4]]: forged, [annotations.publicKey[6]]: forged })
    },
  },
  {
    name: "a peer's key is announced by another Node as well",
    leaks: false,
    dead: 'two',
    said: {
      event: /^node-1 KeyRefused Node a-thief: it announces the key of node-2$/,
      metric: /^podveil_claims_refused\{claim="Node a-thief: it announces the key of node-2"\} 1$/m,
    },
    happen: async (lab, _, two) => createThief(lab, await meshAnnotations(lab, two.name)),
    undo: removeThief,
  },
]
