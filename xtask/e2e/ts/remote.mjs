// The stories of signing in, told to a client that only knows stdio: mcp-remote stands in between, opens
// a browser by itself and keeps the tokens. The browser it finds is ours.
//
// One line per story, as in `client.mjs`.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { program } from './browser.mjs';
import { KINDS, Skip, Teller, checked, pause, skip, toolOf } from './stories.mjs';

/** Real time a story may take, in milliseconds, beside the lifetimes it waits for. */
const STORY_LIMIT = 60_000;

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

const here = fileURLToPath(new URL('.', import.meta.url));

/** A home with nothing in it, and a person who comes when a browser is opened. */
class Home {
  static async make() {
    const home = new Home();
    home.dir = await mkdtemp(join(tmpdir(), 'e2e-remote-'));
    const words = ['--person', flags.person, '--password', flags.password];
    if (flags.provider) words.push('--provider', flags.provider);
    const quoted = [process.execPath, join(here, 'browser.mjs'), ...words].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
    const script = `#!/bin/sh\necho opened >> '${home.dir}/opened'\nexec ${quoted.join(' ')} "$1" >> '${home.dir}/browser.log' 2>&1\n`;
    await writeFile(join(home.dir, 'browser'), script);
    await chmod(join(home.dir, 'browser'), 0o700);
    return home;
  }

  /** How often a browser was opened. */
  async opened() {
    return (await readFile(join(this.dir, 'opened'), 'utf8').catch(() => '')).split('\n').length - 1;
  }

  log() {
    return readFile(join(this.dir, 'browser.log'), 'utf8').catch(() => '');
  }

  remove() {
    return rm(this.dir, { recursive: true, force: true });
  }
}

/** mcp-remote, and JSON-RPC with it line by line. */
class Remote {
  #waiting = new Map();
  #last = 0;
  #stderr = '';

  constructor(home) {
    const words = [join(here, 'node_modules/mcp-remote/dist/proxy.js'), flags.url, '--transport', 'http-only', '--auth-timeout', '60'];
    this.child = spawn(process.execPath, words, {
      // Nothing of this machine's own settings.
      env: {
        PATH: process.env.PATH,
        HOME: home.dir,
        // What the opener it brings along asks before it looks for a browser.
        BROWSER: join(home.dir, 'browser'),
        MCP_REMOTE_CONFIG_DIR: join(home.dir, 'mcp-auth'),
        CHROMIUM: program(),
      },
    });
    this.child.stderr.on('data', (text) => {
      this.#stderr += text;
    });
    this.ended = new Promise((ended) => this.child.on('close', ended));
    this.ended.then(() => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`mcp-remote ended: ${this.#stderr.trim().split('\n').slice(-3).join(' ')}`));
    });
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      const message = JSON.parse(line);
      if (message.method === undefined) {
        this.#waiting.get(message.id)?.resolve(message);
        this.#waiting.delete(message.id);
      }
    });
  }

  send(message) {
    this.child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  }

  async request(method, params = {}) {
    this.#last += 1;
    const id = this.#last;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.send({ id, method, params });
    const { result, error } = await answer;
    assert.equal(error, undefined, `${method} failed: ${JSON.stringify(error)}`);
    return result;
  }

  async initialize() {
    const clientInfo = { name: 'e2e-remote', version: '1.0.0' };
    const result = await this.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo });
    this.send({ method: 'notifications/initialized' });
    return result;
  }

  async call() {
    checked(flags.server, await this.request('tools/call', toolOf(flags.server)), flags.person);
  }

  async stop() {
    this.child.stdin.end();
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
    await this.ended;
    clearTimeout(timer);
  }
}

/** Runs `steps` with a fresh home, and cleans up whatever happens. */
const atHome = (steps) => async () => {
  const home = await Home.make();
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
