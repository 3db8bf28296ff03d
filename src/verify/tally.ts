import { isAnswer, readCiphertext } from './frame.ts'
import { readableText } from './marked.ts'
import type { Tally } from './protocol.ts'

/** Characters of a readable frame that are shown to a person. */
const EXAMPLE = 80

/** Counts what is ours among captured packets: readable by its token, or encrypted by its size. */
export class FrameTally {
  readonly #needles: readonly { readonly token: string; readonly text: string }[]
  readonly #lengths: ReadonlySet<number>
  readonly #clear = new Map<string, { token: string; device: string; frames: number; example: string }>()
  readonly #ciphertext = new Map<string, { from: string; to: string; length: number; frames: number }>()

  /** @param lengths bytes of UDP payload that ours have when they are encrypted */
  constructor(tokens: readonly string[], lengths: readonly number[]) {
    this.#needles = tokens.map(token => ({ token, text: readableText(token) }))
    this.#lengths = new Set(lengths)
  }

  /** @param device where it was captured @param packet from its IP header on */
  look(device: string, packet: Buffer): void {
    if (isAnswer(packet)) return
    for (const { token, text } of this.#needles) {
      const at = packet.indexOf(text, 0, 'latin1')
      if (at < 0) continue
      this.#noteClear(token, device, packet.subarray(at, at + EXAMPLE).toString('latin1'))
      return
    }
    const seen = readCiphertext(packet)
    if (!seen || !this.#lengths.has(seen.length)) return
    const key = `${seen.from} ${seen.to} ${seen.length}`
    const known = this.#ciphertext.get(key) ?? { ...seen, frames: 0 }
    known.frames++
    this.#ciphertext.set(key, known)
  }

  get tally(): Tally {
    return { clear: [...this.#clear.values()], ciphertext: [...this.#ciphertext.values()] }
  }

  #noteClear(token: string, device: string, text: string): void {
    const example = text.replaceAll(/[^ -~]/g, '.').trimEnd()
    const known = this.#clear.get(`${token} ${device}`) ?? { token, device, frames: 0, example }
    known.frames++
    this.#clear.set(`${token} ${device}`, known)
  }
}
