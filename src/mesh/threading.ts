/** What must become of the threaded NAPI of a device. */
export interface ThreadingDecision {
  /** Undefined leaves it as the kernel has it. */
  readonly threaded: boolean | undefined
  /** One sentence where the operator asked for what this kernel must not have. */
  readonly refusal: string | undefined
}

/** Releases of the kernel, first and last, whose threaded NAPI can stop delivering what one peer sends (CVE-2026-52945). */
const DEAF: readonly (readonly [series: string, first: number, last: number])[] = [
  ['5.15', 186, 200],
  ['6.1', 142, 163],
  ['6.6', 94, 126],
  ['6.12', 34, 73],
]

/** Distributions' own counts, which say nothing of the release that a kernel was made of. */
const DEAF_BUILDS: readonly RegExp[] = [/^6\.8\.0-117-/]

/**
 * @param wanted wireguardThreadingEnabled
 * @param release of uname(2), `6.12.48+deb13-amd64`
 * @param version of uname(2), where Debian tells what its kernel was made of: `#1 SMP Debian 6.1.150-1 (2025-09-01)`
 */
export function decideThreading(wanted: boolean, release: string, version: string): ThreadingDecision {
  if (!isDeaf(release, version)) return { threaded: wanted || undefined, refusal: undefined }
  const refusal = `wireguardThreadingEnabled is refused: with threaded NAPI kernel ${release} can stop receiving from a peer (CVE-2026-52945). Update the kernel`
  return { threaded: false, refusal: wanted ? refusal : undefined }
}

function isDeaf(release: string, version: string): boolean {
  if (DEAF_BUILDS.some(build => build.test(release))) return true
  const [, series, patch] = /Debian (\d+\.\d+)\.(\d+)/.exec(version) ?? /^(\d+\.\d+)\.(\d+)/.exec(release) ?? []
  return DEAF.some(([name, first, last]) => name === series && Number(patch) >= first && Number(patch) <= last)
}
