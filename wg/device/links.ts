/** What devices need of rtnetlink; RouteNetlink has it. */
export interface Links {
  /** @returns undefined when there is no such link @throws NetlinkError */
  link(name: string): Promise<LinkIdentity | undefined>
  /** @throws NetlinkError */
  createLink(name: string, kind: string): Promise<unknown>
  /** @throws NetlinkError */
  deleteLink(index: number): Promise<void>
}

export interface LinkIdentity {
  readonly index: number
  /** IFLA_INFO_KIND: `wireguard`, `tun`; undefined for hardware. */
  readonly kind: string | undefined
}
