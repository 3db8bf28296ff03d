import { readAttributes } from '../netlink/attributes.ts'
import { NetlinkFormatError } from '../netlink/errors.ts'
import { decodeMessages } from '../netlink/message.ts'
import { openNetlinkSocket } from '../netlink/socket.ts'
import { NETLINK_NETFILTER, NFGENMSG, NFNL_SUBSYS_NFTABLES } from './constants.ts'

/** linux/netfilter/nfnetlink.h. */
const NFNLGRP_NFTABLES = 7
/** The name of the table is attribute 1 of every message about a table, a chain, a rule, a set, its elements or a counter. */
const NFTA_TABLE = 1

/**
 * Tells that something in a table was changed, by whomever, ourselves included. What exactly is for whoever is told to
 * look at.
 */
export class TableMonitor implements Disposable {
  readonly #socket: ReturnType<typeof openNetlinkSocket>

  /** @throws SocketError */
  constructor(table: string, changed: () => void) {
    this.#socket = openNetlinkSocket(NETLINK_NETFILTER, { groups: [NFNLGRP_NFTABLES] })
    this.#socket.start({
      datagram: (bytes, port) => {
        if (port === 0 && concerns(bytes, table)) changed()
      },
      // Something of ours may have been among what was lost.
      overrun: changed,
    })
    this.#socket.unref()
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }
}

/** @returns true for what cannot be understood as well: looking once too often costs little */
function concerns(bytes: Uint8Array, table: string): boolean {
  try {
    return decodeMessages(bytes).some(({ type, payload }) => {
      if (type >> 8 !== NFNL_SUBSYS_NFTABLES || payload.length < NFGENMSG) return false
      return readAttributes(payload.subarray(NFGENMSG)).some(one => one.type === NFTA_TABLE && one.string() === table)
    })
  } catch (error) {
    if (error instanceof NetlinkFormatError) return true
    throw error
  }
}
