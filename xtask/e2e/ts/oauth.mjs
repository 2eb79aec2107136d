// The stories of signing in, told by the TypeScript SDK's client: it starts from a bare address and
// finds its own way through challenge, metadata and registration; `browser.mjs` is the person.
//
// One line per story, as in `client.mjs`. `../py/oauth.py` tells the same stories under the same names.

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';

import { PasswordRefused, open } from './browser.mjs';
import { call, leave, signIn as signInAt } from './sign-in.mjs';
import { KINDS, Teller, pause, skip, toolOf } from './stories.mjs';

/** Real time a story may take, in milliseconds, beside the lifetimes it waits for. */
const STORY_LIMIT = 120_000;

/** A second past a token's end, since lifetimes are whole seconds. */
const MARGIN = 1_100;

const { values: flags } = parseArgs({
  options: {
    url: { type: 'string' },
    server: { type: 'string' },
    person: { type: 'string', default: 'ada' },
    password: { type: 'string' },
    other: { type: 'string', default: 'bob' },
    'other-password': { type: 'string' },
    provider: { type: 'string' },
    'access-ttl': { type: 'string' },
    only: { type: 'string' },
  },
});

const browser = await open();

/** Connects `name` from nothing. */
const signIn = (name, password, options = {}) =>
  signInAt({ browser, url: flags.url, kind: flags.server, provider: flags.provider, person: name, password, ...options });

/** The same, by a client without a standalone stream, which would come back and refresh by itself. */
const signInForCalls = (name, password) => signIn(name, password, { streamless: true });

/** One request of ours, beside the SDK. */
const ask = (init, url = flags.url) => fetch(url, { redirect: 'manual', ...init });

/** A refresh, in the eyes of a `Wire`. */
const isRefresh = ({ body }) => String(body).includes('grant_type=refresh_token');

const INITIALIZE = {
  method: 'POST',
  headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
  body: JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'e2e-raw', version: '1.0.0' } },
  }),
};

/** The metadata a stranger is led to. */
async function metadata() {
  const refused = await ask(INITIALIZE);
  await refused.body?.cancel();
  assert.equal(refused.status, 401);
  const challenge = refused.headers.get('www-authenticate') ?? '';
  const [, address] = /^Bearer .*\bresource_metadata="([^"]+)"/.exec(challenge) ?? [];
  assert.ok(address, `the challenge leads nowhere: ${challenge}`);
  assert.ok(!/\berror=/.test(challenge), 'without a token there is no error (RFC 6750, section 3.1)');
  const resource = await (await ask({}, address)).json();
  const issuer = new URL(resource.authorization_servers[0]);
  const path = issuer.pathname === '/' ? '' : issuer.pathname;
  const server = await (await ask({}, `${issuer.origin}/.well-known/oauth-authorization-server${path}`)).json();
  return { resource, server };
}

const STORIES = {
  'a stranger is shown the way': async () => {
    const { resource, server } = await metadata();
    assert.equal(resource.resource, flags.url);
    assert.equal(server.issuer, resource.authorization_servers[0]);
    assert.ok(server.code_challenge_methods_supported.includes('S256'));
    assert.ok(server.registration_endpoint, 'nobody can register');
  },

  'a person signs in and calls a tool': async () => {
    const session = await signIn(flags.person, flags.password);
    const { tools } = await session.client.listTools();
    assert.ok(tools.some(({ name }) => name === toolOf(flags.server).name), 'the tool is not listed');
    await call(session);
    assert.equal(session.application.registrations, 1);
    await leave(session);
  },

  'calls go on past the end of the access token, in the same session': async () => {
    const ttl = Number(flags['access-ttl'] ?? skip('no --access-ttl')) * 1000;
    const session = await signInForCalls(flags.person, flags.password);
    const { application, transport, wire } = session;
    const id = transport.sessionId;
    assert.ok(id, 'there is a session');
    for (const round of [1, 2]) {
      await pause(ttl + MARGIN);
      await call(session);
      const refreshes = wire.exchanges.filter(isRefresh);
      assert.equal(refreshes.length, round, 'refreshes');
      assert.ok(refreshes.every(({ response }) => response.status === 200));
      assert.equal(application.saved.length, round + 1, 'tokens received');
      assert.equal(transport.sessionId, id);
    }
    const used = wire.exchanges.map(({ headers }) => headers.get('mcp-session-id')).filter(Boolean);
    assert.deepEqual([...new Set(used)], [id], 'sessions used');
    assert.equal(wire.exchanges.filter(({ body }) => String(body).includes('"initialize"')).length, 1, 'initializations');
    const access = application.saved.map((tokens) => tokens.access_token);
    assert.equal(new Set(access).size, 3, 'each access token is new');
    await leave(session);
  },

  'many calls at once refresh without losing one': async () => {
    const ttl = Number(flags['access-ttl'] ?? skip('no --access-ttl')) * 1000;
    const session = await signInForCalls(flags.person, flags.password);
    const { application, wire } = session;
    const spent = application.tokens().refresh_token;
    await pause(ttl + MARGIN);
    // The SDK refreshes for each of them; a rotated refresh token has its grace. The calls meet twice:
    // the SDK gives up on a call that is refused after another one has refreshed.
    wire.together(4, ({ response }) => response.status === 401);
    wire.together(4, isRefresh);
    await Promise.all([1, 2, 3, 4].map(() => call(session)));
    const refreshes = wire.exchanges.filter(isRefresh);
    assert.equal(refreshes.length, 4, 'refreshes');
    const presented = refreshes.map(({ body }) => new URLSearchParams(body).get('refresh_token'));
    assert.deepEqual([...new Set(presented)], [spent], 'each with the same token');
    assert.equal(new Set(application.saved.slice(1).map((tokens) => tokens.refresh_token)).size, 1, 'successors');
    await call(session);
    await leave(session);
  },

  'two people share nothing': async () => {
    if (flags['other-password'] === undefined) skip('no --other-password');
    const one = await signIn(flags.person, flags.password);
    const two = await signIn(flags.other, flags['other-password']);
    await Promise.all([call(one), call(two)]);
    assert.notEqual(one.transport.sessionId, two.transport.sessionId);
    // Somebody else's session, asked for with one's own token.
    const asked = async () => {
      const { access_token } = two.application.tokens();
      const headers = { ...INITIALIZE.headers, authorization: `Bearer ${access_token}`, 'mcp-session-id': one.transport.sessionId };
      const reply = await ask({ method: 'POST', headers, body: '{"jsonrpc":"2.0","id":7,"method":"tools/list"}' });
      await reply.body?.cancel();
      return reply;
    };
    let reply = await asked();
    // The token may have ended meanwhile; a call renews it.
    for (let again = 0; again < 3 && reply.status === 401; again += 1) {
      await call(two);
      reply = await asked();
    }
    assert.ok([403, 404].includes(reply.status), `answered with ${reply.status}`);
    await call(one);
    await Promise.all([leave(one), leave(two)]);
  },

  'who says no is sent back with access_denied': async () => {
    const { error } = await signIn(flags.person, flags.password, { deny: true });
    assert.equal(error, 'access_denied');
  },

  'a wrong password lets nobody in': async () => {
    if (flags.provider === 'oidc') skip('its pages take every password');
    await assert.rejects(signIn(flags.person, `not ${flags.password}`), PasswordRefused);
  },

  'a revoked grant is over for both tokens': async () => {
    const { server } = await metadata();
    if (!server.revocation_endpoint) skip('no revocation endpoint');
    const session = await signIn(flags.person, flags.password);
    const { access_token, refresh_token } = session.application.tokens();
    const { client_id } = session.application.clientInformation();
    const form = (fields) => ({ method: 'POST', body: new URLSearchParams({ client_id, ...fields }) });
    const revoked = await ask(form({ token: refresh_token, token_type_hint: 'refresh_token' }), server.revocation_endpoint);
    assert.equal(revoked.status, 200);
    const late = await ask({ ...INITIALIZE, headers: { ...INITIALIZE.headers, authorization: `Bearer ${access_token}` } });
    assert.equal(late.status, 401);
    assert.match(late.headers.get('www-authenticate'), /error="invalid_token"/);
    const again = await ask(form({ grant_type: 'refresh_token', refresh_token }), server.token_endpoint);
    assert.equal(again.status, 400);
    assert.equal((await again.json()).error, 'invalid_grant');
    await session.client.close();
  },
};

if (!flags.url || !KINDS.includes(flags.server) || flags.password === undefined) {
  console.error(`usage: oauth.mjs --url URL --server ${KINDS.join('|')} --person NAME --password TEXT [--other NAME --other-password TEXT] [--provider local|forgejo|oidc] [--access-ttl SECONDS] [--only TEXT]`);
  process.exit(64);
}
const teller = new Teller(STORY_LIMIT + 3 * Number(flags['access-ttl'] ?? 0) * 1000);
await teller.all(STORIES, flags.only);
await browser.close();
process.exit(teller.end());
