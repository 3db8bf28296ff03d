import { parseEndpoint, parseExactCidr } from '#wg/ip.ts'

/** What `wg show NAME dump` (wg(8)) says, in the form of ModelDevice.picture(). */
export function wgDump(text: string): unknown {
  const [device = '', ...peers] = text.trimEnd().split('\n')
  const [privateKey = '', , listenPort, fwmark] = device.split('\t')
  return {
    privateKey: unless('(none)', privateKey),
    listenPort: Number(listenPort),
    fwmark: fwmark === 'off' ? 0 : Number(fwmark),
    peers: peers.map(wgPeer).sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1)),
  }
}

/** The same of `wg show all dump`, where each line begins with the name of its device. */
export function wgDumpAll(text: string): Map<string, unknown> {
  const byDevice = Map.groupBy(text.trimEnd().split('\n'), line => line.slice(0, line.indexOf('\t')))
  return new Map(
    [...byDevice].map(([name, lines]) => [name, wgDump(lines.map(line => line.slice(name.length + 1)).join('\n'))]),
  )
}

function wgPeer(line: string) {
  const [publicKey = '', , endpoint = '', allowedIps = '', , , , keepalive] = line.split('\t')
  const at = unless('(none)', endpoint)
  return {
    publicKey,
    endpoint: at === undefined ? undefined : parseEndpoint(at),
    persistentKeepalive: keepalive === 'off' ? 0 : Number(keepalive),
    allowedIps: (unless('(none)', allowedIps)?.split(',') ?? []).map(parseExactCidr).sort(),
  }
}

const unless = (nothing: string, text: string): string | undefined => (text === nothing ? undefined : text)
