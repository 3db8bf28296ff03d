import type { Lab } from '#src/lab/lab.ts'

const OURS = /^(projectcalico\.org|podveil\.io)\//

/** What the mesh has written on a Node: annotations, and a label. */
export async function meshAnnotations(lab: Lab, node: string): Promise<Record<string, string>> {
  const { metadata } = await lab.client.get(`/api/v1/nodes/${node}`)
  const { annotations, labels } = metadata as Partial<Record<string, Record<string, string>>>
  return Object.fromEntries(Object.entries({ ...annotations, ...labels }).filter(([name]) => OURS.test(name)))
}
