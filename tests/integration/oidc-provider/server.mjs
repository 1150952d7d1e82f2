// An identity provider of somebody else's (oidc-provider), with the few accounts that the tests need.
//
//   node server.mjs [--access-ttl SECONDS]
//
// Prints one line of JSON when it answers: {"issuer", "admin"}. It ends with SIGTERM, or when its standard input ends.
// POST {admin}/rotate?mode=publish   a new key is shown and does not sign yet
//                     mode=promote   the key that was shown signs, or a new one; the old ones stay
//                     mode=hard      a new key signs, and no other is left
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import querystring from 'node:querystring';
import { parseArgs } from 'node:util';

import Provider, { errors } from 'oidc-provider';

const { values: options } = parseArgs({ options: { 'access-ttl': { type: 'string', default: '300' } } });
const accessTtl = Number(options['access-ttl']);

const RESOURCES = {
  'https://api.example.test/orders': 'read.orders create.orders',
  'https://api.example.test/stock': 'read.stock',
  'https://api.example.test/portal': 'read.portal',
};
// Tokens for the portal name its app as their audience, as ID tokens do and some vendors' access tokens.
const AUDIENCES = { 'https://api.example.test/portal': 'web-app' };
const SCOPES = Object.values(RESOURCES).join(' ');

const USERS = {
  alice: { password: 'alice-pw', staff_id: 'S-1' },
  bob: { password: 'bob-pw', staff_id: 'S-2' },
};

const CLIENTS = [
  {
    client_id: 'svc-orders',
    client_secret: 'svc-orders-secret',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    scope: SCOPES,
  },
  {
    client_id: 'web-app',
    client_secret: 'web-app-secret',
    grant_types: ['authorization_code'],
    response_types: ['code'],
    redirect_uris: ['http://127.0.0.1/callback'],
    scope: `openid ${SCOPES}`,
  },
];

const newKey = () => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid: randomBytes(8).toString('hex'),
  use: 'sig',
  alg: 'RS256',
});

// The first signs; the others are only published.
let keys = [newKey()];
let waiting = null;
const cookieKeys = [randomBytes(32).toString('hex')];

function configuration() {
  return {
    clients: CLIENTS,
    jwks: { keys: waiting ? [...keys, waiting] : keys },
    cookies: { keys: cookieKeys },
    scopes: ['openid', ...SCOPES.split(' ')],
    pkce: { required: () => true },
    ttl: { AccessToken: accessTtl, ClientCredentials: accessTtl, IdToken: accessTtl, AuthorizationCode: 60, Session: 600, Grant: 600, Interaction: 600 },
    findAccount: (_ctx, id) => (USERS[id] ? { accountId: id, claims: () => ({ sub: id }) } : undefined),
    // a claim that only tokens of people have
    extraTokenClaims: (_ctx, token) => (USERS[token.accountId] ? { staff_id: USERS[token.accountId].staff_id } : undefined),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo(_ctx, resource) {
          if (!RESOURCES[resource]) throw new errors.InvalidTarget();
          return {
            audience: AUDIENCES[resource] ?? resource,
            scope: RESOURCES[resource],
            accessTokenTTL: accessTtl,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: 'RS256' } },
          };
        },
      },
    },
  };
}

let answer;
let issuer;

// Keys cannot be exchanged in a provider: another takes its place. Open logins are lost with it, issued tokens are JWTs and stay.
function replaceProvider() {
  const provider = new Provider(issuer, configuration());
  provider.on('server_error', (_ctx, error) => console.error(error));
  for (const event of ['authorization.error', 'grant.error']) provider.on(event, (_ctx, error) => console.error(event, error.message, error.error_detail ?? ''));
  answer = provider.callback();
}

// devInteractions takes any password, so it is checked before the form arrives there.
async function handle(request, response) {
  if (request.method === 'POST' && request.url.startsWith('/interaction/')) {
    let text = '';
    for await (const part of request) text += part;
    request.body = querystring.parse(text);
    const { prompt, login, password } = request.body;
    if (prompt === 'login' && USERS[login]?.password !== password) {
      response.writeHead(401).end();
      return;
    }
  }
  answer(request, response);
}

function rotate(mode) {
  if (mode === 'publish') waiting ??= newKey();
  else if (mode === 'promote') {
    keys = [waiting ?? newKey(), ...keys];
    waiting = null;
  } else if (mode === 'hard') {
    keys = [newKey()];
    waiting = null;
  } else return false;
  replaceProvider();
  return true;
}

function administer(request, response) {
  const url = new URL(request.url, 'http://127.0.0.1');
  const known = request.method === 'POST' && url.pathname === '/rotate';
  const done = known && rotate(url.searchParams.get('mode'));
  response.writeHead(done ? 200 : 400, { 'content-type': 'application/json' }).end(JSON.stringify({ signing: keys[0].kid }));
}

const listen = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`)));

issuer = await listen(createServer((request, response) => handle(request, response).catch((error) => { console.error(error); response.destroy(); })));
const admin = await listen(createServer(administer));
replaceProvider();

process.stdin.on('end', () => process.exit(0)).resume();
process.on('SIGTERM', () => process.exit(0));
console.log(JSON.stringify({ issuer, admin }));
