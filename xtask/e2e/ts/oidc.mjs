// An identity provider nobody here wrote: oidc-provider as it comes, with its own pages, one client for
// the broker, and two people.
//
//     node oidc.mjs --redirect-uri URI [--client-id ID] [--client-secret TEXT] [--access-ttl SECONDS]
//                   [--listen HOST:PORT]
//
// prints its issuer as the first line of stdout and serves until it is killed. Any password will do.
// `GET /_test/counters` tells how many token requests went well or badly, by grant type.

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

// It warns of its own quick-start pages and keys, which are what is wanted here, and from its first line
// on; stdout is for the issuer.
console.log = console.info = console.warn = (...words) => process.stderr.write(`${words.join(' ')}\n`);
const { Provider } = await import('oidc-provider');

/** Who has an account. */
const PEOPLE = {
  ada: { name: 'Ada L', preferred_username: 'ada', email: 'ada@example.org', email_verified: true },
  bob: { name: 'Bob', preferred_username: 'bob', email: 'bob@example.org', email_verified: true },
};

const { values: flags } = parseArgs({
  options: {
    listen: { type: 'string', default: '127.0.0.1:0' },
    'redirect-uri': { type: 'string', multiple: true },
    'client-id': { type: 'string', default: 'broker' },
    'client-secret': { type: 'string', default: 'hush-of-the-broker-0123456789' },
    'access-ttl': { type: 'string', default: '3600' },
  },
});
if (!flags['redirect-uri']) {
  console.error('usage: oidc.mjs --redirect-uri URI [--client-id ID] [--client-secret TEXT] [--access-ttl SECONDS] [--listen HOST:PORT]');
  process.exit(64);
}

const server = createServer();
const { hostname, port } = new URL(`http://${flags.listen}`);
await new Promise((listening) => server.listen(Number(port || 0), hostname, listening));
const issuer = `http://${hostname}:${server.address().port}`;

const counters = { token: {}, refused: {} };
const count = (of, ctx) => {
  const grant = ctx.oidc?.params?.grant_type ?? 'unknown';
  counters[of][grant] = (counters[of][grant] ?? 0) + 1;
};

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: flags['client-id'],
      client_secret: flags['client-secret'],
      redirect_uris: flags['redirect-uri'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      // Plain http on loopback is for native applications here.
      application_type: 'native',
    },
  ],
  findAccount: (_, id) => (PEOPLE[id] ? { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) } : undefined),
  claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'] },
  features: { devInteractions: { enabled: true }, introspection: { enabled: true }, revocation: { enabled: true } },
  rotateRefreshToken: true,
  ttl: { AccessToken: Number(flags['access-ttl']), Grant: 86_400, Session: 86_400, Interaction: 600, IdToken: 3600, RefreshToken: 86_400 },
  cookies: { keys: ['a key for tests'] },
});
provider.on('grant.success', (ctx) => count('token', ctx));
provider.on('grant.error', (ctx, error) => {
  count('refused', ctx);
  console.log(`refused: ${error.error} ${error.error_detail ?? error.error_description ?? ''}`);
});
provider.on('server_error', (_, error) => console.log(error.stack));

const answer = provider.callback();
server.on('request', (request, response) => {
  const { pathname } = new URL(request.url, issuer);
  response.on('finish', () => console.log(`${request.method} ${pathname} ${response.statusCode}`));
  if (pathname === '/_test/counters') {
    response.setHeader('content-type', 'application/json').end(JSON.stringify(counters));
  } else {
    answer(request, response);
  }
});
process.stdout.write(`${issuer}\n`);
