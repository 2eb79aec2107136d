// The stories of a client that only knows stdio: the TypeScript SDK's client of the era with `initialize`
// speaks to mcp-remote, and that to the broker in either era. `--era` says which: `legacy` is a release of
// mcp-remote from before 2026-07-28, `modern` one that speaks that revision and translates by itself.
//
// One line per story, as in `client.mjs`, whose other arguments it takes.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { CreateMessageRequestSchema, ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

import { MODEL_SAYS, assertIncreasing, fillIn, servers } from './abilities.mjs';
import { Teller, skip, textOf } from './stories.mjs';

/** Real time a story may take, in milliseconds. */
const STORY_LIMIT = 10_000;

const { values: flags } = parseArgs({
  options: {
    era: { type: 'string' },
    url: { type: 'string' },
    token: { type: 'string' },
    server: { type: 'string' },
    path: { type: 'string' },
    only: { type: 'string' },
  },
});

/** Which release, and what it is told. */
const RELEASES = {
  legacy: { of: 'mcp-remote-before', words: [] },
  modern: { of: 'mcp-remote', words: ['--protocol', 'auto'] },
};

const ABILITIES = servers(flags.path)[flags.server];

/** The server's entry for a story, or a skip. */
const ability = (key) => ABILITIES[key] ?? skip('the server offers nothing for it');

const home = await mkdtemp(join(tmpdir(), 'e2e-remote-'));

/** A client at a mcp-remote of its own, and all that was asked of it. */
async function connect() {
  const { of, words } = RELEASES[flags.era];
  const program = fileURLToPath(new URL(`node_modules/${of}/dist/proxy.js`, import.meta.url));
  const bearer = flags.token === undefined ? [] : ['--header', 'Authorization:${BEARER}'];
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [program, flags.url, '--transport', 'http-only', ...bearer, ...words],
    env: { PATH: process.env.PATH, HOME: home, MCP_REMOTE_CONFIG_DIR: join(home, 'mcp-auth'), BEARER: `Bearer ${flags.token}` },
    stderr: 'pipe',
  });
  const client = new Client({ name: 'e2e-remote', version: '1.0.0' }, { capabilities: { sampling: {}, elicitation: { form: {} } } });
  const connected = { client, contents: [], log: '' };
  transport.stderr.on('data', (text) => (connected.log += text));
  client.setRequestHandler(CreateMessageRequestSchema, () => ({
    model: 'stories',
    role: 'assistant',
    content: { type: 'text', text: MODEL_SAYS },
  }));
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
    const content = fillIn(params.requestedSchema);
    connected.contents.push(content);
    return { action: 'accept', content };
  });
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
  const result = await client.callTool({ name, arguments: args }, undefined, { signal, onprogress });
  assert.ok(!result.isError, `${name} failed: ${textOf(result)}`);
  if (text !== undefined) assert.equal(textOf(result), text);
  return { text: textOf(result), progress };
}

/** The client of all stories; the first one makes it. */
let shared;

const STORIES = {
  'mcp-remote finds the server': async () => {
    shared = await connect();
    assert.ok(shared.client.getServerVersion().name);
    await shared.client.ping();
  },

  'tools, resources and prompts are listed': async () => {
    const { client } = shared;
    const offered = client.getServerCapabilities();
    const names = (await client.listTools()).tools.map((tool) => tool.name);
    for (const tool of ABILITIES.tools) assert.ok(names.includes(tool), `no ${tool} in ${names}`);
    if (offered.resources) {
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

  'a sampling request is answered': async () => {
    const { text } = await call(shared, ability('sampling'));
    assert.ok(text.includes(MODEL_SAYS), `no answer in ${text}`);
  },

  'an elicitation is answered': async () => {
    const { text } = await call(shared, ability('elicitation'));
    for (const value of Object.values(shared.contents[0])) assert.ok(text.includes(value), `no ${value} in ${text}`);
  },

  'calls at the same time get their own answers': async () => {
    const calls = ability('atOnce');
    const alone = [];
    for (const one of calls) alone.push(one.text ?? (await call(shared, one)).text);
    const together = await Promise.all(calls.map((one) => call(shared, one)));
    assert.deepEqual(together.map(({ text }) => text), alone);
  },

  'a cancelled call leaves the server working': async () => {
    const [slow, after] = [ability('slow'), ability('after')];
    const cancel = new AbortController();
    let stepped;
    const underway = new Promise((resolve) => (stepped = resolve));
    const refused = assert.rejects(call(shared, slow, { signal: cancel.signal, onStep: stepped }), /enough/);
    // Some slow tools are silent; then an answered list stands for "the call has been sent".
    await (slow.arguments.ms ? shared.client.listTools() : underway);
    cancel.abort('enough');
    await refused;
    await call(shared, after);
  },

  'a crash is an error of the call that met it': async () => {
    const crash = ability('crash');
    await assert.rejects(shared.client.callTool({ name: crash.name, arguments: {} }), (error) => typeof error.code === 'number');
    await call(shared, ability('after'));
  },
};

if (!flags.url || !ABILITIES || !RELEASES[flags.era]) {
  console.error(`usage: remote-calls.mjs --era legacy|modern --url URL [--token BEARER] --server ${Object.keys(servers('')).join('|')} [--path DIR] [--only TEXT]`);
  process.exit(64);
}
const teller = new Teller(STORY_LIMIT);
for (const [name, story] of Object.entries(STORIES)) {
  if (shared && flags.only && !name.includes(flags.only)) continue;
  await teller.tell(name, story);
  // Nothing can be told without the client that the stories share.
  if (!shared) break;
}
await shared?.client.close();
await rm(home, { recursive: true, force: true });
process.exit(teller.end());
