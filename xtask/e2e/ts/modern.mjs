// The stories of revision 2026-07-28, told by the TypeScript SDK's client of that revision: no session,
// no stream that stays open, and what a server asks is the result of a call.
//
// One line per story, as in `client.mjs`, whose arguments it takes.

import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { MODEL_SAYS, assertIncreasing, fillIn, servers } from './abilities.mjs';
import { Teller, skip, textOf } from './stories.mjs';
import { Inbox, Wire } from './wire.mjs';

/** Real time a story may take, in milliseconds. */
const STORY_LIMIT = 10_000;

/** The revision of all this. */
const REVISION = '2026-07-28';

const { values: flags } = parseArgs({
  options: {
    url: { type: 'string' },
    token: { type: 'string' },
    server: { type: 'string' },
    path: { type: 'string' },
    only: { type: 'string' },
  },
});

/** The everything server asks for roots while no call is under way, and then nobody is there to answer. */
const HAS_ROOTS = flags.server !== 'everything';

const ABILITIES = servers(flags.path)[flags.server];

/** The server's entry for a story, or a skip. */
const ability = (key) => ABILITIES[key] ?? skip('the server offers nothing for it');

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

/** Calls a tool, checks its answer where it is known, and returns its text with the progress seen. */
async function call({ client }, { name, arguments: args = {}, text }, { signal, onStep } = {}) {
  const progress = [];
  const onprogress = (step) => {
    progress.push(step.progress);
    onStep?.(step);
  };
  const result = await client.callTool({ name, arguments: args }, { signal, onprogress });
  assert.ok(!result.isError, `${name} failed: ${textOf(result)}`);
  if (text !== undefined) assert.equal(textOf(result), text);
  return { text: textOf(result), progress };
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

  'tools, resources and prompts are listed': async () => {
    const { client } = shared;
    const offered = client.getServerCapabilities();
    const names = (await client.listTools()).tools.map((tool) => tool.name);
    for (const tool of ABILITIES.tools) assert.ok(names.includes(tool), `no ${tool} in ${names}`);
    if (offered.resources) {
      // Some servers declare resources and have none.
      for (const { uri } of (await client.listResources()).resources.slice(0, 1)) {
        assert.equal((await client.readResource({ uri })).contents[0].uri, uri);
      }
    }
    if (offered.prompts) assert.ok(Array.isArray((await client.listPrompts()).prompts));
  },

  'a tool answers with the very content': async () => {
    const { contentSteps, content } = ABILITIES;
    await (contentSteps ? contentSteps(shared.client) : call(shared, content));
  },

  'progress arrives in order before the result': async () => {
    assertIncreasing((await call(shared, ability('progress'))).progress);
  },

  'a sampling request is answered by the retry of its call': async () => {
    const before = sent(shared, 'tools/call');
    const { text } = await call(shared, ability('sampling'));
    assert.ok(text.includes(MODEL_SAYS), `no answer in ${text}`);
    assert.equal(sent(shared, 'tools/call') - before, 2, 'one call, and one retry');
  },

  'an elicitation is answered by the retry of its call': async () => {
    const { text } = await call(shared, ability('elicitation'));
    const { content } = shared.asked.all.find(({ kind }) => kind === 'elicitation');
    for (const value of Object.values(content)) assert.ok(text.includes(value), `no ${value} in ${text}`);
  },

  'calls that ask at the same time get their own answers': async () => {
    const [sampling, elicitation] = [ability('sampling'), ability('elicitation')];
    const texts = await Promise.all([sampling, elicitation, sampling].map(async (one) => (await call(shared, one)).text));
    texts.forEach((text, i) => assert.equal(text.includes(MODEL_SAYS), i !== 1, text));
  },

  'roots are asked for and answered': async () => {
    if (!HAS_ROOTS) skip('the server asks outside of calls');
    const list = ability('roots');
    const { root } = shared;
    const shown = flags.path ?? root;
    // Some servers ask when they please and digest the answer in their own time, so their view is
    // polled; the story's limit bounds it.
    while (!(await call(shared, list)).text.includes(shown));
  },

  'calls at the same time get their own answers': async () => {
    const calls = ability('atOnce');
    const alone = [];
    for (const one of calls) alone.push(one.text ?? (await call(shared, one)).text);
    const together = await Promise.all(calls.map((one) => call(shared, one)));
    together.forEach(({ text, progress }, i) => {
      assert.equal(text, alone[i], 'the answer differs from the one given alone');
      const { steps } = calls[i].arguments ?? {};
      if (steps) assertSteps(progress, steps);
    });
  },

  'a cancelled call leaves the server working': async () => {
    const [slow, after] = [ability('slow'), ability('after')];
    const cancel = new AbortController();
    const from = shared.wire.exchanges.length;
    const refused = assert.rejects(call(shared, slow, { signal: cancel.signal }), /enough/);
    await shared.wire.until(({ body }) => body.includes(slow.name), from);
    cancel.abort('enough');
    await refused;
    await call(shared, after);
  },

  'a crash is an error of the call that met it': async () => {
    const crash = ability('crash');
    await assert.rejects(call(shared, crash), (error) => typeof error.code === 'number');
    await call(shared, ability('after'));
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

if (!flags.url || !ABILITIES || (['filesystem', 'git'].includes(flags.server) && !flags.path)) {
  console.error(`usage: modern.mjs --url URL [--token BEARER] --server ${Object.keys(servers('')).join('|')} [--path DIR] [--only TEXT]`);
  process.exit(64);
}
const teller = new Teller(STORY_LIMIT);
for (const [name, story] of Object.entries(STORIES)) {
  if (shared && flags.only && !name.includes(flags.only)) continue;
  await teller.tell(name, story);
  // Nothing can be told without the client that most stories share.
  if (!shared) break;
}
await shared?.client.close();
process.exit(teller.end());
