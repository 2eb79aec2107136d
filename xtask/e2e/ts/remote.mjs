// The stories of signing in, told to a client that only knows stdio: mcp-remote stands in between, opens
// a browser by itself and keeps the tokens. The browser it finds is ours.
//
// One line per story, as in `client.mjs`.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Home, installed } from './home.mjs';
import { KINDS, Skip, Teller, checked, pause, skip, toolOf } from './stories.mjs';

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
    provider: { type: 'string' },
    'access-ttl': { type: 'string' },
    only: { type: 'string' },
  },
});

/** mcp-remote, and JSON-RPC with it. */
class Remote {
  constructor(home) {
    const words = [installed('mcp-remote/dist/proxy.js'), flags.url, '--transport', 'http-only', '--auth-timeout', '110'];
    this.#program = home.converse(process.execPath, words, { env: { MCP_REMOTE_CONFIG_DIR: join(home.dir, 'mcp-auth') } });
  }

  #program;

  request(method, params) {
    return this.#program.request(method, params);
  }

  async initialize() {
    const clientInfo = { name: 'e2e-remote', version: '1.0.0' };
    const result = await this.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo });
    this.#program.send({ method: 'notifications/initialized' });
    return result;
  }

  async call() {
    checked(flags.server, await this.request('tools/call', toolOf(flags.server)), flags.person);
  }

  stop() {
    return this.#program.stop();
  }
}

/** Runs `steps` with a fresh home, and cleans up whatever happens. */
const atHome = (steps) => async () => {
  const home = await Home.make(flags);
  const running = [];
  const start = () => {
    running.push(new Remote(home));
    return running.at(-1);
  };
  try {
    await steps({ home, start });
  } catch (error) {
    const log = await home.log();
    // Where the person got stuck says more than that nothing came back.
    if (log && !(error instanceof Skip)) error.message += ` (browser: ${log.trim().split('\n').at(-1)})`;
    throw error;
  } finally {
    await Promise.all(running.map((remote) => remote.stop()));
    await home.remove();
  }
};

const STORIES = {
  'mcp-remote opens a browser, gets in and calls a tool': atHome(async ({ home, start }) => {
    const remote = start();
    const { serverInfo } = await remote.initialize();
    assert.ok(serverInfo.name);
    const { tools } = await remote.request('tools/list');
    assert.ok(tools.some(({ name }) => name === toolOf(flags.server).name));
    await remote.call();
    assert.equal(await home.opened(), 1);
  }),

  'mcp-remote goes on past the end of the access token without a browser': atHome(async ({ home, start }) => {
    const ttl = Number(flags['access-ttl'] ?? skip('no --access-ttl')) * 1000;
    const remote = start();
    await remote.initialize();
    for (let round = 0; round < 2; round += 1) {
      await pause(ttl + MARGIN);
      await remote.call();
    }
    assert.equal(await home.opened(), 1);
  }),

  'mcp-remote starts again with what it kept': atHome(async ({ home, start }) => {
    const first = start();
    await first.initialize();
    await first.stop();
    const second = start();
    await second.initialize();
    await second.call();
    assert.equal(await home.opened(), 1);
  }),
};

if (!flags.url || !KINDS.includes(flags.server) || flags.password === undefined) {
  console.error(`usage: remote.mjs --url URL --server ${KINDS.join('|')} --person NAME --password TEXT [--provider local|forgejo|oidc] [--access-ttl SECONDS] [--only TEXT]`);
  process.exit(64);
}
const teller = new Teller(STORY_LIMIT + 3 * Number(flags['access-ttl'] ?? 0) * 1000);
await teller.all(STORIES, flags.only);
process.exit(teller.end());
