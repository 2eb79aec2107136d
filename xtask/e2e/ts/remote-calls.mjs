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

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { CreateMessageRequestSchema, ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

import { MODEL_SAYS, fillIn } from './abilities.mjs';
import { Calls, parseFlags, tellAll } from './calls.mjs';

/** Which release, and what it is told. */
const RELEASES = {
  legacy: { of: 'mcp-remote-before', words: [] },
  modern: { of: 'mcp-remote', words: ['--protocol', 'auto'] },
};

const flags = parseFlags('remote-calls.mjs', { era: Object.keys(RELEASES) });
const calls = new Calls(flags, (client, tool, options) => client.callTool(tool, undefined, options));

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

/** The client of all stories; the first one makes it. */
let shared;

const STORIES = {
  'mcp-remote finds the server': async () => {
    shared = await connect();
    assert.ok(shared.client.getServerVersion().name);
    await shared.client.ping();
  },

  'tools, resources and prompts are listed': () => calls.lists(shared),
  'a tool answers with the very content': () => calls.answers(shared),
  'progress arrives in order before the result': () => calls.progresses(shared),
  'a sampling request is answered': () => calls.samples(shared),
  'an elicitation is answered': () => calls.elicits(shared, () => shared.contents[0]),
  'calls at the same time get their own answers': () => calls.runsAtOnce(shared),

  'a cancelled call leaves the server working': async () => {
    // Some slow tools are silent; then an answered list stands for "the call has been sent".
    await calls.cancels(shared, (slow, stepped) => (slow.arguments.ms ? shared.client.listTools() : stepped));
    await calls.goesOn(shared);
  },

  'a crash is an error of the call that met it': async () => {
    await calls.crashes(shared);
    await calls.goesOn(shared);
  },
};

await tellAll(STORIES, {
  only: flags.only,
  isReady: () => shared,
  end: async () => {
    await shared?.client.close();
    await rm(home, { recursive: true, force: true });
  },
});
