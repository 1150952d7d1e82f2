// An upstream's side of the back door: lets a call in only with a pass of the gateway. Node 18 or newer, standard library only.
//
//   import { passChecker } from './check_pass.mjs'
//   const comesThrough = passChecker({ issuer: 'https://api.example.com', audience: 'https://api.example.com/orders/v1' })
//   if (!(await comesThrough(request.headers['x-scopeward-pass']))) { /* answer 401 and stop */ }
//
// As a program it answers each call with 204 or 401, for servers that ask another one (nginx: auth_request):
//
//   node check_pass.mjs https://api.example.com https://api.example.com/orders/v1 7002

import { createPublicKey, verify } from 'node:crypto'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'

const LONGEST = 4096 // bytes of a pass; a real one has about 400
const LEEWAY = 60 // seconds by which the gateway's clock and this one may differ
const FRESH = 600 // seconds before the keys are fetched again
const COOLDOWN = 10 // seconds between two fetches, however many calls ask for keys that do not exist
const STALE = 86400 // seconds for which the last keys serve while the gateway does not answer
const FORM = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/ // two headers become one with a comma, and do not fit

const seconds = () => Date.now() / 1000
const json = (text) => JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))

export function passChecker({ issuer, audience, jwksUrl = `${issuer}/.well-known/scopeward/jwks.json`, now = seconds }) {
  const url = new URL(jwksUrl)
  if (url.protocol !== 'https:' && !['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)) {
    throw new Error(`${jwksUrl}: keys that come in clear text could be anybody's`)
  }
  let keys = new Map()
  let fetchedAt = -Infinity
  let triedAt = -Infinity
  let flight = null

  const within = (limit, since) => now() - since >= 0 && now() - since < limit

  async function refresh() {
    triedAt = now()
    try {
      const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(5000) })
      if (answer.status !== 200) return
      const usable = (await answer.json()).keys.filter((key) => key.kty === 'EC' && key.crv === 'P-256' && key.alg === 'ES256' && !('d' in key))
      const fetched = new Map(usable.map((key) => [key.kid, createPublicKey({ key, format: 'jwk' })]))
      if (fetched.size === 0) return
      keys = fetched
      fetchedAt = now()
    } catch (error) {
      console.error(`the gateway's keys are not to be had: ${error.name}`)
    }
  }

  async function keyOf(kid) {
    if (!keys.has(kid) || !within(FRESH, fetchedAt)) {
      if (flight === null && !within(COOLDOWN, triedAt)) {
        flight = refresh().finally(() => {
          flight = null
        })
      }
      await flight // the calls that wait here share one fetch
    }
    return within(STALE, fetchedAt) ? keys.get(kid) : undefined
  }

  return async function comesThrough(value) {
    const parts = typeof value === 'string' && value.length <= LONGEST ? FORM.exec(value) : null
    if (parts === null) return false
    try {
      const header = json(parts[1])
      if (header.alg !== 'ES256' || typeof header.kid !== 'string' || 'crit' in header) return false
      const key = await keyOf(header.kid)
      if (key === undefined) return false
      const signed = Buffer.from(`${parts[1]}.${parts[2]}`)
      if (!verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(parts[3], 'base64url'))) return false
      const { iss, aud, exp, iat } = json(parts[2])
      return iss === issuer && aud === audience && Number.isInteger(exp) && exp > now() - LEEWAY && Number.isInteger(iat) && iat < now() + LEEWAY
    } catch {
      return false
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [issuer, audience, port = '7002'] = process.argv.slice(2)
  const comesThrough = passChecker({ issuer, audience })
  const server = createServer(async (request, response) => {
    response.writeHead((await comesThrough(request.headers['x-scopeward-pass'])) ? 204 : 401, { 'www-authenticate': 'Scopeward-Pass' }).end()
  })
  server.listen(Number(port), '127.0.0.1', () => console.log(`checking passes on http://127.0.0.1:${server.address().port}`))
}
