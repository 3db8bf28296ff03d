// An import statement reads every export of node:http, and two of those load undici, which nobody here uses: 9 MB of
// resident memory and 30 ms of each start (Node.js 24).
export const http = process.getBuiltinModule('node:http')
export const https = process.getBuiltinModule('node:https')
