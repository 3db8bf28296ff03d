// One GET from inside of a network namespace, for machines without curl: `http-get.ts URL` prints status and body as JSON.
import { get } from 'node:http'

const [url] = process.argv.slice(2)
if (url === undefined) throw new TypeError('usage: http-get.ts URL')

const request = get(url, { timeout: 5_000 }, response => {
  const chunks: Buffer[] = []
  response.on('data', (chunk: Buffer) => chunks.push(chunk))
  response.on('end', () => {
    process.stdout.write(JSON.stringify({ status: response.statusCode, body: Buffer.concat(chunks).toString() }))
  })
})
request.on('timeout', () => request.destroy(new Error('silent for 5 s')))
request.on('error', error => {
  process.stderr.write(`${url}: ${error.message}\n`)
  process.exitCode = 1
})
