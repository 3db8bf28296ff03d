// as-podveil.ts SOCKET PORT: has the UDP sockets of the wireguard-go that listens on that unix socket hold as much as Podveil has its
// own hold. Run in the node's network namespace.
import { ReceiveQueues } from '#wg/uapi/receive-queue.ts'

const [socket = '', port] = process.argv.slice(2)
await new ReceiveQueues().enlarge(socket, Number(port))
