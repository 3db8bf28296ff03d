import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PROGRAM = ['chromium', 'chromium-browser', 'google-chrome'].find(
  name => spawnSync(name, ['--version']).status === 0,
)

/** Why there is no browser here; undefined where there is. */
export const noBrowser = PROGRAM === undefined ? 'needs chromium' : undefined

interface Reply {
  readonly id?: number
  readonly result?: Record<string, unknown>
  readonly error?: { readonly message: string }
}

/** A page in a browser without a window, by the browser's own debugging protocol. */
export class BrowserPage implements AsyncDisposable {
  readonly #browser: ChildProcess
  readonly #profile: string
  readonly #socket: WebSocket
  readonly #waiting = new Map<
    number,
    { resolve: (result: Record<string, unknown>) => void; reject: (error: Error) => void }
  >()
  #session: string | undefined
  #sent = 0

  private constructor(browser: ChildProcess, profile: string, socket: WebSocket) {
    this.#browser = browser
    this.#profile = profile
    this.#socket = socket
    socket.addEventListener('message', ({ data }) => this.#settle(JSON.parse(String(data)) as Reply))
  }

  static async open(url: string): Promise<BrowserPage> {
    const profile = mkdtempSync(join(tmpdir(), 'podveil-browser-'))
    const flags = [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--remote-debugging-port=0',
    ]
    const browser = spawn(PROGRAM ?? '', [...flags, `--user-data-dir=${profile}`, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const socket = new WebSocket(await listening(browser))
    await once(socket, 'open')
    const page = new BrowserPage(browser, profile, socket)
    const { targetId } = await page.call('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await page.call('Target.attachToTarget', { targetId, flatten: true })
    page.#session = sessionId as string
    await page.call('Page.enable')
    await page.call('Page.navigate', { url })
    return page
  }

  call(method: string, params: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
    const id = ++this.#sent
    const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>()
    this.#waiting.set(id, { resolve, reject })
    this.#socket.send(JSON.stringify({ id, method, params, ...(this.#session && { sessionId: this.#session }) }))
    return promise
  }

  /** The value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const answer = await this.call('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true })
    if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails))
    // The expression is the test's own.
    return (answer.result as { value: T }).value
  }

  async press(key: string): Promise<void> {
    for (const type of ['keyDown', 'keyUp'])
      await this.call('Input.dispatchKeyEvent', { type, key, code: key, windowsVirtualKeyCode: KEYS[key] })
  }

  async prefer(scheme: 'light' | 'dark'): Promise<void> {
    await this.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] })
  }

  /** PNG. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true })
    return Buffer.from(data as string, 'base64')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close()
    this.#browser.kill('SIGKILL')
    if (this.#browser.exitCode === null && this.#browser.signalCode === null) await once(this.#browser, 'close')
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10 })
  }

  #settle({ id, result, error }: Reply): void {
    const waiting = id === undefined ? undefined : this.#waiting.get(id)
    if (id !== undefined) this.#waiting.delete(id)
    if (error) waiting?.reject(new Error(error.message))
    else waiting?.resolve(result ?? {})
  }
}

const KEYS: Readonly<Record<string, number>> = { Tab: 9, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40 }

async function listening(browser: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of browser.stderr ?? []) {
    text += String(chunk)
    const [, url] = /DevTools listening on (ws:\S+)/.exec(text) ?? []
    if (url) {
      browser.stderr?.resume()
      return url
    }
  }
  throw new Error(`the browser ended: ${text.trim().split('\n').at(-1)}`)
}
