// ready.ts PORT: prints the time, in milliseconds since 1970, at which /readyz of this network namespace says yes.
import { get } from 'node:http'

const port = Number(process.argv[2])

const isReady = (): Promise<boolean> =>
  new Promise(resolve => {
    get({ host: '127.0.0.1', port, path: '/readyz' }, response => {
      response.resume()
      response.on('end', () => resolve(response.statusCode === 200))
    }).on('error', () => resolve(false))
  })

while (!(await isReady())) await new Promise(resolve => setTimeout(resolve, 5))
console.log(performance.timeOrigin + performance.now())
