import { isIP, isIPv4, isIPv6 } from 'node:net'

const DATE_TIME = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

const formats: Readonly<Record<string, (text: string) => boolean>> = {
  ipv4: isIPv4,
  ipv6: isIPv6,
  cidr: isCidr,
  'date-time': text => DATE_TIME.test(text) && !Number.isNaN(Date.parse(text)),
}

/** Whether the text has that OpenAPI format. A format that is not known refuses nothing, as in the real server. */
export function formatMatches(format: string, text: string): boolean {
  const matches = Object.hasOwn(formats, format) ? formats[format] : undefined
  return matches === undefined || matches(text)
}

function isCidr(text: string): boolean {
  const [address = '', length = '', ...more] = text.split('/')
  const family = isIP(address)
  const limit = family === 4 ? 32 : 128
  return family !== 0 && more.length === 0 && /^(0|[1-9]\d{0,2})$/.test(length) && Number(length) <= limit
}
