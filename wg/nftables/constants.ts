/** linux/netlink.h, linux/netfilter/nfnetlink.h. */
export const NETLINK_NETFILTER = 12
export const NFNL_SUBSYS_NFTABLES = 10
/** Length of struct nfgenmsg: u8 family, u8 version, u16 resource. */
export const NFGENMSG = 4
