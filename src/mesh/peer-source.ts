export const PEER_SOURCES = ['Nodes', 'MeshNodes'] as const

/** What the other nodes are read from: all Nodes, or one MeshNode for each, which only its agent writes. */
export type PeerSource = (typeof PEER_SOURCES)[number]
