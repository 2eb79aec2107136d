// The stories of signing in, told by the TypeScript SDK's client: it starts from a bare address and
// finds its own way through challenge, metadata and registration; `browser.mjs` is the person.
//
// One line per story, as in `client.mjs`. `../py/oauth.py` tells the same stories under the same names.

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { PasswordRefused, open } from './browser.mjs';
import { Application, Listener } from './application.mjs';
import { Wire } from './wire.mjs';

/** Real time a story may take, in milliseconds, beside the lifetimes it waits for. */
const STORY_LIMIT = 40_000;

/** A second past a token's end, since lifetimes are whole seconds. */
const MARGIN = 1_100;

/** What each kind of server is asked; `who` finds the person in the answer. */
const SERVERS = {
  fixture: { name: 'echo', arguments: { text: 'hello' }, text: 'hello' },
  everything: { name: 'echo', arguments: { message: 'hello' }, text: 'Echo: hello' },
  gitea: { name: 'get_server_info', arguments: {}, who: (result) => JSON.parse(textOf(result)).gitea_user },
};

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

const textOf = (result) => result.content.filter((block) => block.type === 'text').map((block) => block.text).join('\n');
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Says that a story does not apply here. */
class Skip extends Error {}
const skip = (why) => {
  throw new Skip(why);
};

const browser = await open();

/** A transport of `application`; the SDK finds out by itself that it has to sign in. */
function transportOf(application, options = {}) {
  const wire = new Wire();
  const fetch = (url, init = {}) => wire.fetch(url, { method: 'GET', ...init });
  const transport = new StreamableHTTPClientTransport(new URL(flags.url), { authProvider: application, fetch, ...options });
  return { wire, transport, client: new Client({ name: 'e2e-oauth', version: '1.0.0' }) };
}

/** Connects `name` from nothing: challenge, registration, browser, code, tokens, session. */
async function signIn(name, password, options = {}) {
  const listener = await Listener.open();
  const person = await browser.person(name, password);
  try {
    const application = new Application(listener.redirectUri);
    const first = transportOf(application);
    await assert.rejects(first.client.connect(first.transport), UnauthorizedError);
    const arrived = await person.visit(application.authorizationUrl, { provider: flags.provider, ...options });
    const { searchParams } = new URL(arrived);
    assert.equal(searchParams.get('state'), application.expectedState, 'the state came back');
    if (searchParams.has('error')) return { error: searchParams.get('error') };
    await first.transport.finishAuth(searchParams.get('code'));
    const { wire, transport, client } = transportOf(application);
    await client.connect(transport);
    return { application, wire, transport, client, found: first.wire };
  } finally {
    await person.close();
    await listener.close();
  }
}

/** Calls the server's tool and checks what is known of the answer. */
async function call({ client }, name) {
  const { text, who, ...tool } = SERVERS[flags.server];
  const result = await client.callTool(tool);
  assert.ok(!result.isError, textOf(result));
  if (text) assert.equal(textOf(result), text);
  if (who) assert.equal(who(result), name, 'whom the server acts for');
}

async function leave({ client, transport }) {
  await transport.terminateSession();
  await client.close();
}

/** One request of ours, beside the SDK. */
const ask = (init, url = flags.url) => fetch(url, { redirect: 'manual', ...init });

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
    assert.ok(tools.some(({ name }) => name === SERVERS[flags.server].name), 'the tool is not listed');
    await call(session, flags.person);
    assert.equal(session.application.registrations, 1);
    await leave(session);
  },

  'calls go on past the end of the access token, in the same session': async () => {
    const ttl = Number(flags['access-ttl'] ?? skip('no --access-ttl')) * 1000;
    const session = await signIn(flags.person, flags.password);
    const { application, transport, wire } = session;
    const id = transport.sessionId;
    assert.ok(id, 'there is a session');
    for (const round of [1, 2]) {
      await pause(ttl + MARGIN);
      await call(session, flags.person);
      const refreshes = wire.exchanges.filter(({ body }) => String(body).includes('grant_type=refresh_token'));
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
    const session = await signIn(flags.person, flags.password);
    await pause(ttl + MARGIN);
    // The SDK refreshes for each of them; a rotated refresh token has its grace.
    await Promise.all([1, 2, 3, 4].map(() => call(session, flags.person)));
    await call(session, flags.person);
    await leave(session);
  },

  'two people share nothing': async () => {
    if (flags['other-password'] === undefined) skip('no --other-password');
    const one = await signIn(flags.person, flags.password);
    const two = await signIn(flags.other, flags['other-password']);
    await Promise.all([call(one, flags.person), call(two, flags.other)]);
    assert.notEqual(one.transport.sessionId, two.transport.sessionId);
    // Somebody else's session, asked for with one's own token.
    const { access_token } = two.application.tokens();
    const headers = { ...INITIALIZE.headers, authorization: `Bearer ${access_token}`, 'mcp-session-id': one.transport.sessionId };
    const reply = await ask({ method: 'POST', headers, body: '{"jsonrpc":"2.0","id":7,"method":"tools/list"}' });
    await reply.body?.cancel();
    assert.ok([403, 404].includes(reply.status), `answered with ${reply.status}`);
    await call(one, flags.person);
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

/** Runs one story within its limit; the verdict is null when all went well. */
async function tell(story) {
  let timer;
  const limit = STORY_LIMIT + 3 * Number(flags['access-ttl'] ?? 0) * 1000;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${limit / 1000} s`)), limit);
  });
  try {
    await Promise.race([story(), late]);
    return null;
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}

if (!flags.url || !SERVERS[flags.server] || flags.password === undefined) {
  const kinds = Object.keys(SERVERS).join('|');
  console.error(`usage: oauth.mjs --url URL --server ${kinds} --person NAME --password TEXT [--other NAME --other-password TEXT] [--provider local|forgejo|oidc] [--access-ttl SECONDS] [--only TEXT]`);
  process.exit(64);
}
process.on('unhandledRejection', () => {});

let passed = 0;
let failed = 0;
for (const [name, story] of Object.entries(STORIES)) {
  if (flags.only && !name.includes(flags.only)) continue;
  const verdict = await tell(story);
  if (verdict === null) {
    passed += 1;
    console.log(`ok - ${name}`);
  } else if (verdict instanceof Skip) {
    console.log(`skipped - ${name}: ${verdict.message}`);
  } else {
    failed += 1;
    console.log(`FAILED - ${name}: ${String(verdict.message ?? verdict).split('\n').slice(0, 3).join(' ')}`);
  }
}
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
