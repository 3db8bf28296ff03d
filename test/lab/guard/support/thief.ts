import type { Lab } from '#src/lab/lab.ts'

/** Before all others by its name. */
export const THIEF = 'a-thief'

/** Of the thief, as its Node says. */
export const THIEF_PODS = ['10.244.66.0/24', 'fd00:244:66::/64'] as const

/** A Node without a machine that says of itself what another one does. @param copied annotations of that one */
export async function createThief(lab: Lab, copied: Readonly<Record<string, string>>): Promise<void> {
  await lab.client.create('/api/v1/nodes', {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: THIEF, annotations: copied },
    spec: { podCIDRs: THIEF_PODS },
    status: { addresses: [{ type: 'InternalIP', address: '10.200.0.66' }] },
  })
}

export const removeThief = (lab: Lab): Promise<unknown> => lab.client.request('DELETE', `/api/v1/nodes/${THIEF}`)
