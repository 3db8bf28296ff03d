import type { Lab } from '#src/lab/lab.ts'

const OURS = /^(projectcalico\.org|podveil\.io)\//

/** What the mesh has written on a Node. */
export async function meshAnnotations(lab: Lab, node: string): Promise<Record<string, string>> {
  const { metadata } = await lab.client.get(`/api/v1/nodes/${node}`)
  const { annotations = {} } = metadata as { annotations?: Record<string, string> }
  return Object.fromEntries(Object.entries(annotations).filter(([name]) => OURS.test(name)))
}
