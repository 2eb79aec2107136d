// The stories of revision 2026-07-28, told by the TypeScript SDK's client of that revision: no session,
// no stream that stays open, and what a server asks is the result of a call.
//
// One line per story, as in `client.mjs`, whose arguments it takes.

import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { MODEL_SAYS, fillIn } from './abilities.mjs';
import { Calls, parseFlags, tellAll } from './calls.mjs';
import { skip } from './stories.mjs';
import { Inbox, Wire } from './wire.mjs';

/** The revision of all this. */
const REVISION = '2026-07-28';

const flags = parseFlags('modern.mjs');
const calls = new Calls(flags, (client, tool, options) => client.callTool(tool, options));

/** The everything server asks for roots while no call is under way, and then nobody is there to answer. */
const HAS_ROOTS = flags.server !== 'everything';

/** A client that found this revision, with its wire and all that was asked of it. */
async function connect({ token = flags.token, mode = { pin: REVISION } } = {}) {
  const wire = new Wire();
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const transport = new StreamableHTTPClientTransport(new URL(flags.url), { fetch: wire.fetch, requestInit: { headers } });
  const client = new Client(
    { name: 'e2e-typescript-modern', version: '1.0.0' },
    { capabilities: { sampling: {}, elicitation: { form: {} }, ...(HAS_ROOTS && { roots: {} }) }, versionNegotiation: { mode } },
  );
  const root = flags.path ? pathToFileURL(flags.path).href : 'file:///stories/first';
  const connected = { client, wire, root, asked: new Inbox() };
  client.setRequestHandler('sampling/createMessage', () => {
    connected.asked.push({ kind: 'sampling' });
    return { model: 'stories', role: 'assistant', content: { type: 'text', text: MODEL_SAYS } };
  });
  client.setRequestHandler('elicitation/create', ({ params }) => {
    const content = fillIn(params.requestedSchema);
    connected.asked.push({ kind: 'elicitation', content });
    return { action: 'accept', content };
  });
  if (HAS_ROOTS) client.setRequestHandler('roots/list', () => ({ roots: [{ uri: root, name: 'stories' }] }));
  await client.connect(transport);
  return connected;
}

/**
 * Progress went step by step. The last one may be missing: where it comes in one read with the result, the SDK
 * has forgotten whose it is.
 */
function assertSteps(progress, steps) {
  const expected = Array.from({ length: steps }, (_, n) => n + 1);
  assert.ok(progress.length >= steps - 1, `progress went [${progress}] of ${steps}`);
  assert.deepEqual(progress, expected.slice(0, progress.length));
}

/** How many requests of `method` went over the wire. */
const sent = ({ wire }, method) => wire.exchanges.filter(({ body }) => body.includes(`"method":"${method}"`)).length;

/** The client of most stories; the first one makes it. */
let shared;

const STORIES = {
  'the server is found without a session': async () => {
    shared = await connect();
    assert.equal(shared.client.getNegotiatedProtocolVersion(), REVISION);
    assert.ok(shared.client.getServerVersion().name);
    assert.equal(sent(shared, 'initialize'), 0);
    for (const { response } of shared.wire.exchanges) assert.ok(!response.headers.has('mcp-session-id'));
  },

  'the client finds the era by itself': async () => {
    const { client } = await connect({ mode: 'auto' });
    assert.equal(client.getNegotiatedProtocolVersion(), REVISION);
    await client.close();
  },

  'tools, resources and prompts are listed': () => calls.lists(shared),
  'a tool answers with the very content': () => calls.answers(shared),
  'progress arrives in order before the result': () => calls.progresses(shared),

  'a sampling request is answered by the retry of its call': async () => {
    const before = sent(shared, 'tools/call');
    await calls.samples(shared);
    assert.equal(sent(shared, 'tools/call') - before, 2, 'one call, and one retry');
  },

  'an elicitation is answered by the retry of its call': () =>
    calls.elicits(shared, () => shared.asked.all.find(({ kind }) => kind === 'elicitation').content),

  'calls that ask at the same time get their own answers': async () => {
    const [sampling, elicitation] = [calls.ability('sampling'), calls.ability('elicitation')];
    const texts = await Promise.all([sampling, elicitation, sampling].map(async (one) => (await calls.call(shared, one)).text));
    texts.forEach((text, i) => assert.equal(text.includes(MODEL_SAYS), i !== 1, text));
  },

  'roots are asked for and answered': async () => {
    if (!HAS_ROOTS) skip('the server asks outside of calls');
    await calls.showsRoots(shared, flags.path ?? shared.root);
  },

  'calls at the same time get their own answers': () => calls.runsAtOnce(shared, assertSteps),

  'a cancelled call leaves the server working': async () => {
    const from = shared.wire.exchanges.length;
    await calls.cancels(shared, (slow) => shared.wire.until(({ body }) => body.includes(slow.name), from));
    await calls.goesOn(shared);
  },

  'a crash is an error of the call that met it': async () => {
    await calls.crashes(shared);
    await calls.goesOn(shared);
  },

  'a tool that does not exist is an error and no end': async () => {
    const result = await shared.client.callTool({ name: 'no_such_tool', arguments: {} }).catch((error) => error);
    assert.ok(result.isError || typeof result.code === 'number', `${JSON.stringify(result)}`);
    assert.ok((await shared.client.listTools()).tools.length > 0);
  },

  'a wrong bearer is refused': async () => {
    if (flags.token === undefined) skip('no --token');
    for (const token of ['no-such-token', '']) {
      const error = await connect({ token }).then(() => assert.fail('it was accepted'), (reason) => reason);
      assert.match(String(error), /401|nauthorized/, `${error}`);
    }
  },
};

await tellAll(STORIES, { only: flags.only, isReady: () => shared, end: () => shared?.client.close() });
