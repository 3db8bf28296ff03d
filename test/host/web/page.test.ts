import { mkdirSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { plainText, serve } from '#src/agent/http-endpoint.ts'
import { meshStatus } from '#src/status/mesh-status.ts'
import { nodeStatus } from '#src/status/node-status.ts'
import { meshFragment } from '#src/web/mesh-fragment.ts'
import { CONTENT_SECURITY_POLICY, PAGE } from '#src/web/page.ts'
import { encryptingNode } from '../../unit/status/support/nodes.ts'
import { family4, kernel, NOW, peer, snapshot } from '../../unit/status/support/snapshots.ts'
import { BrowserPage, noBrowser } from './browser.ts'

const LIMIT = { timeout: 20_000 }

const blocked = { node: 'node-3', state: 'clear', reason: 'IPv4: no handshake yet' } as const

const measured = snapshot({
  families: [family4({ peers: [peer(2), peer(3, { echo: { roundTripSeconds: 0.000_42, loss: 0.25 } })] })],
})

const mesh = (healthy: boolean): string =>
  meshFragment(
    meshStatus([encryptingNode(1, 2, healthy ? [] : [blocked]), encryptingNode(2, 2), encryptingNode(3, 2)]),
    nodeStatus(measured, kernel(), NOW),
    NOW,
  )

/** The page as the agent serves it, of a mesh that a test can change. */
async function served(): Promise<{ url: string; show(healthy: boolean): void; asked: string[] } & Disposable> {
  let text = mesh(false)
  const asked: string[] = []
  const html = (body: string) =>
    ({
      status: 200,
      type: 'text/html; charset=utf-8',
      body,
      headers: { 'content-security-policy': CONTENT_SECURITY_POLICY },
    }) as const
  const answers = { '/': () => html(PAGE), '/mesh': () => html(text), '/favicon.ico': () => plainText(404, '') }
  const server = await serve('web', 0, answers, 'loopback')
  server.on('request', request => asked.push(request.url ?? ''))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/`,
    asked,
    show: healthy => {
      text = mesh(healthy)
    },
    [Symbol.dispose]: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** Kept where PODVEIL_SCREENSHOTS says. */
async function keep(page: BrowserPage, name: string): Promise<Buffer> {
  const png = await page.screenshot()
  const directory = process.env.PODVEIL_SCREENSHOTS
  if (directory) {
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, `${name}.png`), png)
  }
  return png
}

describe.skipIf(noBrowser)(`the web page in a browser${noBrowser ? ` (${noBrowser})` : ''}`, () => {
  test('shows verdict, map, matrix and this node’s pairs, and follows the mesh', async () => {
    using site = await served()
    await using page = await BrowserPage.open(site.url)
    const verdict = () => page.evaluate<string>("document.querySelector('.verdict')?.textContent ?? ''")
    await vi.waitFor(async () => expect(await verdict()).toBe('NOT ENCRYPTED as it should be: 1 of 3 nodes'), LIMIT)
    expect(await page.evaluate("document.querySelectorAll('svg line').length")).toBe(3)
    expect(await page.evaluate("document.querySelectorAll('.matrix td[tabindex]').length")).toBe(6)
    expect(await page.evaluate("document.querySelector('#c0-2').title")).toBe(
      'node-1 to node-3: in clear; node-1: IPv4: no handshake yet; IPv4 handshake 60s ago, 2.0 KiB received, 1.0 KiB sent, round trip 0.42 ms, loss 25 %',
    )
    site.show(true)
    await vi.waitFor(async () => expect(await verdict()).toBe('encrypted: pod traffic between all of 3 nodes'), LIMIT)
    expect(await page.evaluate("document.querySelectorAll('.matrix .s-encrypted').length")).toBe(6)
    expect(site.asked.filter(path => !['/', '/mesh', '/favicon.ico'].includes(path))).toEqual([])
  })

  test('is walked through by keyboard, and says what is in a cell', async () => {
    using site = await served()
    await using page = await BrowserPage.open(site.url)
    await vi.waitFor(async () => expect(await page.evaluate("!!document.querySelector('#c0-1')")).toBe(true), LIMIT)
    const at = () => page.evaluate<string>('document.activeElement.id')
    await page.press('Tab')
    expect(await at()).toBe('c0-1')
    await page.press('ArrowRight')
    expect(await at()).toBe('c0-2')
    expect(await page.evaluate("document.getElementById('detail').textContent")).toMatch(/^node-1 to node-3: in clear/)
    await page.press('ArrowDown')
    expect(await at()).toBe('c1-2')
    await page.press('ArrowLeft')
    // Over the cell that a node would have with itself.
    expect(await at()).toBe('c1-0')
    site.show(true)
    await vi.waitFor(
      async () => expect(await page.evaluate("document.querySelectorAll('.matrix .s-encrypted').length")).toBe(6),
      LIMIT,
    )
    expect(await at()).toBe('c1-0')
  })

  test.each(['light', 'dark'] as const)('can be read where it is %s: contrasts of at least 4.5 to 1', async scheme => {
    using site = await served()
    await using page = await BrowserPage.open(site.url)
    await page.prefer(scheme)
    await vi.waitFor(async () => expect(await page.evaluate("!!document.querySelector('#c0-1')")).toBe(true), LIMIT)
    const [back, ...texts] = await page.evaluate<string[]>(
      "[getComputedStyle(document.body).backgroundColor, ...[...document.querySelectorAll('body,.verdict,.hint,.matrix td[tabindex],td,th')].map(one => getComputedStyle(one).color)]",
    )
    for (const colour of new Set(texts))
      expect(contrast(colour, back ?? ''), `${colour} on ${back}`).toBeGreaterThanOrEqual(4.5)
    expect(luminance(back ?? '') > 0.5).toBe(scheme === 'light')
    const png = await keep(page, `web-page-${scheme}`)
    expect(png.subarray(1, 4).toString()).toBe('PNG')
  })
})

test('nobody gets it by another name than that of the loopback', async () => {
  using site = await served()
  const { request } = await import('node:http')
  const status = (host: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      request(site.url, { headers: { host } }, response => resolve(response.resume().statusCode))
        .on('error', reject)
        .end()
    })
  expect(await status('localhost:9183')).toBe(200)
  expect(await status('attacker.example')).toBe(403)
})

/** Of `rgb(1, 2, 3)`, by WCAG 2. */
function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(text => {
    const part = Number(text) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}

function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (light + 0.05) / (dark + 0.05)
}
