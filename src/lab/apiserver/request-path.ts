/** What the path of a request for objects names. Absent parts are undefined. */
export interface Target {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly namespace: string | undefined
  readonly name: string | undefined
  readonly subresource: string | undefined
}

/** Reads /api/v1/… and /apis/GROUP/VERSION/…; undefined for a path that is not about objects. */
export function targetOf(path: string): Target | undefined {
  const parts = decoded(path.split('/').slice(1))
  if (parts === undefined || parts.includes('')) return undefined
  const group = parts[0] === 'apis' ? parts[1] : parts[0] === 'api' ? '' : undefined
  const [version, ...rest] = parts.slice(group === '' ? 1 : 2)
  if (group === undefined || version === undefined) return undefined
  // /namespaces/NAME and /namespaces/NAME/status are the namespace itself; what is longer or else is in it.
  const inNamespace = rest[0] === 'namespaces' && rest.length > 2 && rest[2] !== 'status'
  const [plural, name, subresource, ...more] = inNamespace ? rest.slice(2) : rest
  if (plural === undefined || more.length > 0) return undefined
  return { group, version, plural, namespace: inNamespace ? rest[1] : undefined, name, subresource }
}

/** The path with placeholders for names, so that requests about different objects count as one kind of request. */
export function pathTemplate(target: Target): string {
  const base = target.group === '' ? `/api/${target.version}` : `/apis/${target.group}/${target.version}`
  const scope = target.namespace === undefined ? '' : '/namespaces/{namespace}'
  const name = target.name === undefined ? '' : '/{name}'
  const subresource = target.subresource === undefined ? '' : `/${target.subresource}`
  return `${base}${scope}/${target.plural}${name}${subresource}`
}

function decoded(parts: readonly string[]): readonly string[] | undefined {
  try {
    return parts.map(decodeURIComponent)
  } catch {
    return undefined
  }
}
