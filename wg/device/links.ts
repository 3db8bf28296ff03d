import type { RouteNetlink } from '../rtnetlink/route-netlink.ts'

/** What devices need of rtnetlink. */
export type Links = Pick<RouteNetlink, 'link' | 'createLink' | 'setLink' | 'deleteLink'>
