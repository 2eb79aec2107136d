// The stories of `clients.mjs`, told of Codex: its command line keeps the list of servers and signs in,
// its `app-server` connects and calls tools without a model.

import assert from 'node:assert/strict';

import { SEPARATORS, isListed, main, onlyFixture, question, textOf } from './clients.mjs';
import { Home, installed } from './home.mjs';

const CODEX = installed('@openai/codex/bin/codex.js');

/** How often somebody tries again who was told to. */
const ATTEMPTS = 3;

/** Runs `steps` with a fresh home, and cleans up whatever happens. */
const atHome = async (flags, steps) => {
  const home = await Home.make(flags);
  const env = { BROKER_TOKEN: flags.token };
  const codex = async (words, until) => {
    const ran = await home.run(process.execPath, [CODEX, 'mcp', ...words], { env, until });
    return { ...ran, said: ran.stderr.trim().split('\n').at(-1) };
  };
  /** Runs `ask` with the program that connects to the servers. */
  const connected = async (ask) => {
    const server = home.converse(process.execPath, [CODEX, 'app-server'], { env });
    const call = async ({ name, arguments: args }) => {
      // As a conversation of the person's would.
      const { thread } = await server.request('thread/start', { cwd: home.dir });
      const words = { threadId: thread.id, server: 'broker', tool: name, arguments: args };
      return textOf(await server.request('mcpServer/tool/call', words));
    };
    try {
      await server.request('initialize', { clientInfo: { name: 'e2e', version: '1.0.0' } });
      server.send({ method: 'initialized' });
      await ask({ server, call });
    } finally {
      await server.stop();
    }
  };
  try {
    await steps({ home, codex, connected });
  } finally {
    await home.remove();
  }
};

const added = (flags, steps) =>
  atHome(flags, async (at) => {
    const { code, said } = await at.codex(['add', 'broker', '--url', flags.url, '--bearer-token-env-var', 'BROKER_TOKEN']);
    assert.equal(code, 0, said);
    await steps(at);
  });

const status = async (codex) => JSON.parse((await codex(['list', '--json'])).stdout)[0];

main({
  'it adds the server and lists it': (flags) =>
    onlyFixture(flags) &&
    added(flags, async ({ codex }) => {
      const server = await status(codex);
      assert.equal(server.name, 'broker');
      assert.equal(server.auth_status, 'bearer_token');
    }),

  'it connects, lists the tools and calls one': (flags) =>
    added(flags, ({ connected }) =>
      connected(async ({ server, call }) => {
        const { data } = await server.request('mcpServerStatus/list');
        isListed(flags.server, Object.keys(data[0].tools));
        question(flags.server).check(await call(question(flags.server)));
      }),
    ),

  'it reads an answer that comes as a stream, with line separators in it': (flags) =>
    onlyFixture(flags) &&
    added(flags, ({ connected }) =>
      connected(async ({ call }) => {
        assert.equal(await call({ name: 'echo', arguments: { text: SEPARATORS, log: true } }), SEPARATORS);
      }),
    ),

  // It names itself by an address. A broker that cannot reach that says so on a page, and clients
  // that try again are sent to registration.
  'it signs in with a browser and calls a tool': (flags) =>
    onlyFixture(flags) &&
    atHome(flags, async ({ home, codex, connected }) => {
      const inVain = async () => (await home.gone()) > 0 && (await home.gone()) === (await home.opened());
      const first = await codex(['add', 'broker', '--url', flags.url], inVain);
      let done = first.code === 0;
      for (let attempt = 1; !done && attempt < ATTEMPTS; attempt += 1) {
        assert.match(await home.log(), /The application is not to blame/, 'the page says whose fault it is');
        const before = await home.gone();
        const { code } = await codex(['login', 'broker'], async () => (await home.gone()) > before);
        done = code === 0;
      }
      assert.ok(done, `it is not signed in: ${(await home.log()).trim().split('\n').at(-1)}`);
      assert.equal((await status(codex)).auth_status, 'o_auth');
      await connected(async ({ call }) => question(flags.server).check(await call(question(flags.server))));
    }),
});
