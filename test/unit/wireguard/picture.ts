import type { DeviceStatus } from '#wg/device/device.ts'

/** What was read, in the form of ModelDevice.picture(). */
export const picture = ({ privateKey, listenPort, fwmark, peers }: DeviceStatus): unknown => ({
  privateKey: privateKey && Buffer.from(privateKey.reveal()).toString('base64'),
  listenPort,
  fwmark,
  peers: Array.from(peers.values(), ({ publicKey, endpoint, persistentKeepalive, allowedIps }) => ({
    publicKey,
    endpoint,
    persistentKeepalive,
    allowedIps: [...allowedIps].sort(),
  })).sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1)),
})
