import { createRequire } from 'node:module'
import { resolve } from 'node:path'

declare const handleBrand: unique symbol

/** A socket as the addon holds it. */
export type SocketHandle = { readonly [handleBrand]: 'SocketHandle' }

/** socket.c, function for function. A negative number is an errno. */
export interface SocketAddon {
  open(domain: number, type: number, protocol: number, namespaceFd: number): SocketHandle | number
  close(socket: SocketHandle): void
  bind(socket: SocketHandle, address: Uint8Array): number
  setsockopt(socket: SocketHandle, level: number, name: number, value: Uint8Array): number
  setsockoptOf(pid: number, descriptor: number, level: number, name: number, value: Uint8Array): number
  getsockname(socket: SocketHandle): Uint8Array | number
  ref(socket: SocketHandle, yes: boolean): void
  send(socket: SocketHandle, datagram: Uint8Array, address: Uint8Array | undefined): number
  slab(socket: SocketHandle, buffer: Uint8Array, slots: number): void
  start(socket: SocketHandle, callback: (result: number) => void): number
  stop(socket: SocketHandle): void
  receive(socket: SocketHandle): number
  releaseProgram(): void
}

/** There is no addon for this machine. The message says where it was looked for and how to build it. */
export class NativeAddonError extends Error {
  override readonly name = 'NativeAddonError'
  readonly code = 'ERR_NATIVE_ADDON'
}

const ADDON = 'podveil-socket.node'

/** Where the addon may be, best first. A bundle has no directory of its own, so PODVEIL_NATIVE can name the file. */
function candidates(): string[] {
  const named = process.env.PODVEIL_NATIVE
  if (named !== undefined && named !== '') return [resolve(named)]
  const platform = `${process.platform}-${process.arch}`
  return [
    `build/${ADDON}`,
    // The C library that a prebuilt one needs is known by trying: the dynamic linker refuses the other's.
    `prebuilds/${platform}-glibc/${ADDON}`,
    `prebuilds/${platform}-musl/${ADDON}`,
  ].map(path => resolve(import.meta.dirname, path))
}

let loaded: SocketAddon | undefined

/**
 * Loads the addon once: the one built here, or a prebuilt one.
 * @throws NativeAddonError
 */
export function socketAddon(): SocketAddon {
  loaded ??= load(candidates())
  return loaded
}

function load(paths: readonly string[]): SocketAddon {
  const require = createRequire(import.meta.url)
  const refusals: string[] = []
  for (const path of paths) {
    try {
      // The addon and this interface are built from one directory; nothing else can be at that path.
      return require(path) as SocketAddon
    } catch (error) {
      refusals.push(error instanceof Error ? (error.message.split('\n')[0] ?? path) : path)
    }
  }
  throw new NativeAddonError(
    `the socket addon is not built for ${process.platform}-${process.arch}: run npm run build:native (${refusals.join('; ')})`,
  )
}
