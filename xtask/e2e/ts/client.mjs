// The end-to-end stories, told by the TypeScript SDK's client.
//
// Every story prints one line: `ok - STORY`, `skipped - STORY: why` or `FAILED - STORY: reason`. The
// SDK does the talking throughout; `wire.mjs` only watches its HTTP exchanges and cuts connections on
// request. `../py/client.py` tells the same stories under the same names.

import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

import { MODEL_SAYS, assertIncreasing, fillIn } from './abilities.mjs';
import { Calls, STORY_LIMIT, parseFlags, tellAll } from './calls.mjs';
import { skip, within } from './stories.mjs';
import { Inbox, Wire, isOpenGet } from './wire.mjs';

const flags = parseFlags('client.mjs');
const calls = new Calls(flags, (client, tool, options) => client.callTool(tool, undefined, options));

/** A connected client with its wire and all that was asked of it. */
async function connect(token = flags.token) {
  const wire = new Wire();
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const transport = new StreamableHTTPClientTransport(new URL(flags.url), { fetch: wire.fetch, requestInit: { headers } });
  const client = new Client(
    { name: 'e2e-typescript', version: '1.0.0' },
    { capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } } },
  );
  const root = flags.path ? pathToFileURL(flags.path).href : 'file:///stories/first';
  const session = { client, transport, wire, roots: [root], asked: new Inbox(), logged: new Inbox(), updated: new Inbox() };
  client.setRequestHandler(CreateMessageRequestSchema, (request) => {
    session.asked.push({ kind: 'sampling', params: request.params });
    return { model: 'stories', role: 'assistant', content: { type: 'text', text: MODEL_SAYS } };
  });
  client.setRequestHandler(ElicitRequestSchema, (request) => {
    const content = fillIn(request.params.requestedSchema);
    session.asked.push({ kind: 'elicitation', params: request.params, content });
    return { action: 'accept', content };
  });
  client.setRequestHandler(ListRootsRequestSchema, () => {
    session.asked.push({ kind: 'roots', roots: session.roots });
    return { roots: session.roots.map((uri) => ({ uri, name: 'stories' })) };
  });
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => session.logged.push(params));
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => session.updated.push(params));
  await client.connect(transport);
  return session;
}

/** Ends a session as a polite client does. */
async function leave({ client, transport }) {
  await transport.terminateSession();
  await client.close();
}

async function assertStatus(promise, status) {
  const error = await promise.then(() => assert.fail(`expected ${status}, but it was accepted`), (reason) => reason);
  assert.equal(error.code, status, `expected ${status}, got ${error}`);
}

/** The session most stories share; the first story opens it. */
let shared;

const STORIES = {
  'a session opens and has an id': async () => {
    shared = await connect();
    assert.match(shared.transport.sessionId ?? '', /^[\x21-\x7e]+$/, 'no usable Mcp-Session-Id');
    assert.ok(shared.client.getServerVersion().name);
    assert.ok(shared.transport.protocolVersion);
    await shared.client.ping();
  },

  'tools, resources and prompts are listed': () => calls.lists(shared),
  'a tool answers with the very content': () => calls.answers(shared),
  'progress arrives in order before the result': () => calls.progresses(shared),
  'a sampling request is answered': () => calls.samples(shared),
  'an elicitation is answered': () =>
    calls.elicits(shared, () => shared.asked.all.find(({ kind }) => kind === 'elicitation').content),

  'roots are asked for and answered': async () => {
    const session = await connect();
    await calls.showsRoots(session, flags.path ?? session.roots[0]);
    await session.asked.until(({ kind }) => kind === 'roots');
    await leave(session);
  },

  'log messages arrive at the level that was set': async () => {
    const tool = calls.ability('logging');
    const session = await connect();
    await session.client.setLoggingLevel('debug');
    await calls.call(session, tool);
    const message = await session.logged.until(({ logger }) => logger !== 'everything-server');
    assert.ok(message.level && message.data !== undefined);
    await leave(session);
  },

  'the update of a subscribed resource arrives': async () => {
    const { uri, by } = calls.ability('update');
    const session = await connect();
    await session.client.subscribeResource({ uri });
    await calls.call(session, by);
    await session.updated.until((params) => params.uri === uri);
    await session.client.unsubscribeResource({ uri });
    await leave(session);
  },

  'calls at the same time get their own answers': () =>
    calls.runsAtOnce(shared, (progress, steps) => assert.deepEqual(progress, Array.from({ length: steps }, (_, n) => n + 1))),

  'a cancelled call leaves the session working': async () => {
    // Some slow tools are silent; then an answered ping stands for "the call has been sent".
    await calls.cancels(shared, (slow, stepped) => Promise.race([stepped, slow.arguments.ms ? shared.client.ping() : stepped]));
    const notice = await shared.wire.until(({ body, response }) => body.includes('notifications/cancelled') && response);
    assert.equal(notice.response.status, 202);
    await calls.goesOn(shared);
  },

  'a broken stream is resumed': async () => {
    const session = await connect();
    const isTheCall = ({ body }) => body.includes('"tools/call"');
    const onStep = () => session.wire.exchanges.find(isTheCall).cut();
    const { progress } = await calls.call(session, calls.ability('resumed'), { onStep });
    const resumption = session.wire.exchanges.find(({ headers }) => headers.has('last-event-id'));
    assert.ok(resumption, 'the result came without a resumption: nothing was cut');
    const ids = [...session.wire.exchanges.find(isTheCall).text.matchAll(/^id: ?(.+)$/gm)].map(([, id]) => id);
    assert.ok(ids.includes(resumption.headers.get('last-event-id')), 'Last-Event-ID is not of the broken stream');
    assertIncreasing(progress);
    const { steps } = calls.ability('resumed').arguments ?? {};
    if (steps) assert.equal(progress.length, steps, `progress went [${progress}]`);
    await leave(session);
  },

  'the GET stream delivers what no call asked for': async () => {
    if (flags.server !== 'everything') skip('the server says nothing unasked');
    const session = await connect();
    await session.wire.until(isOpenGet);
    // With no call in flight the server asks for the roots and then logs that it has them.
    await session.logged.until(({ data }) => String(data).startsWith('Roots updated: 1 '));
    session.roots = ['file:///stories/first', 'file:///stories/second'];
    await session.client.sendRootsListChanged();
    await session.logged.until(({ data }) => String(data).startsWith('Roots updated: 2 '));
    const carrier = session.wire.exchanges.find(({ text }) => text.includes('Roots updated: 2 '));
    assert.equal(carrier.method, 'GET');
    await leave(session);
  },

  'a broken GET stream is resumed': async () => {
    if (flags.server !== 'everything') skip('the server says nothing unasked');
    const session = await connect();
    const first = await session.wire.until(isOpenGet);
    await session.logged.until(({ data }) => String(data).startsWith('Roots updated: 1 '));
    first.cut();
    session.roots = ['file:///stories/first', 'file:///stories/second'];
    await session.client.sendRootsListChanged();
    await session.logged.until(({ data }) => String(data).startsWith('Roots updated: 2 '));
    const asked = session.asked.all.filter(({ roots }) => roots?.length === 2);
    assert.equal(asked.length, 1, 'the question was delivered more than once');
    await leave(session);
  },

  'two sessions have a process each': async () => {
    const ask = calls.ability('process');
    const sessions = await Promise.all([connect(), connect()]);
    const [one, two] = await Promise.all(sessions.map(async (session) => (await calls.call(session, ask)).text));
    assert.notEqual(one, two);
    await Promise.all(sessions.map(leave));
  },

  'a crash is an error of the call that met it': async () => {
    calls.ability('crash');
    const session = await connect();
    await calls.crashes(session);
    await session.client.close();
  },

  'a deleted session is gone': async () => {
    const session = await connect();
    const { sessionId } = session.transport;
    await session.transport.terminateSession();
    const { status } = session.wire.exchanges.find(({ method }) => method === 'DELETE').response;
    assert.ok([200, 204].includes(status), `DELETE was answered with ${status}`);
    await session.client.close();
    const headers = flags.token === undefined ? {} : { Authorization: `Bearer ${flags.token}` };
    const transport = new StreamableHTTPClientTransport(new URL(flags.url), { sessionId, requestInit: { headers } });
    const late = new Client({ name: 'e2e-typescript', version: '1.0.0' });
    await late.connect(transport);
    await assertStatus(late.ping(), 404);
    await late.close();
  },

  'a wrong bearer is refused': async () => {
    if (flags.token === undefined) skip('no --token');
    await assertStatus(connect('no-such-token'), 401);
    await assertStatus(connect(''), 401);
  },
};

await tellAll(STORIES, {
  only: flags.only,
  isReady: () => shared,
  end: () => shared && within(STORY_LIMIT, leave(shared)).catch(() => {}),
});
