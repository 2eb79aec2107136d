// The stories of `clients.mjs`, told of mcporter: every command is a process, and a session, of its own.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { SEPARATORS, isListed, main, onlyFixture, question, textOf } from './clients.mjs';
import { Home, installed } from './home.mjs';

const MCPORTER = installed('mcporter/dist/cli.js');

/** More sessions than one person may have open at once, unless idle ones make room. */
const PROCESSES = 20;

/** How many of them at once. */
const AT_ONCE = 4;

const atHome = async (flags, server, steps) => {
  const home = await Home.make(flags);
  const config = join(home.dir, 'mcporter.json');
  await writeFile(config, JSON.stringify({ mcpServers: { broker: server }, imports: [] }));
  const mcporter = async (...words) => {
    const { code, stdout, stderr } = await home.run(process.execPath, [MCPORTER, '--config', config, ...words]);
    assert.equal(code, 0, `${stderr} ${stdout}`.trim().split('\n').slice(-3).join(' '));
    return stdout;
  };
  const call = async ({ name, arguments: args }) => {
    const answer = JSON.parse(await mcporter('call', `broker.${name}`, '--args', JSON.stringify(args), '--output', 'json'));
    // It prints what is structured in an answer, or was text that is JSON, in place of the whole.
    return answer.content ? textOf(answer) : JSON.stringify(answer);
  };
  try {
    await steps({ home, mcporter, call });
  } finally {
    await home.remove();
  }
};

const withToken = (flags, steps, url = flags.url) =>
  atHome(flags, { url, headers: { authorization: `Bearer ${flags.token}` } }, steps);

const lists = (flags) => async ({ mcporter }) => isListed(flags.server, JSON.parse(await mcporter('list', 'broker', '--json')).tools);

main({
  'it connects, lists the tools and calls one': (flags) =>
    withToken(flags, async (at) => {
      await lists(flags)(at);
      question(flags.server).check(await at.call(question(flags.server)));
    }),

  'it reads an answer that comes as a stream, with line separators in it': (flags) =>
    onlyFixture(flags) &&
    withToken(flags, async ({ call }) => {
      assert.equal(await call({ name: 'echo', arguments: { text: SEPARATORS, log: true } }), SEPARATORS);
    }),

  'it calls twenty times as twenty sessions of one person': (flags) =>
    onlyFixture(flags) &&
    withToken(flags, async ({ call }) => {
      for (let done = 0; done < PROCESSES; done += AT_ONCE) {
        const { check, ...asked } = question(flags.server);
        (await Promise.all(Array.from({ length: AT_ONCE }, () => call(asked)))).forEach(check);
      }
    }),

  'it is let in under localhost and with a slash at the end': (flags) =>
    onlyFixture(flags) &&
    withToken(flags, lists(flags), `${flags.url.replace('127.0.0.1', 'localhost')}/`),

  'it signs in with a browser and calls a tool': (flags) =>
    onlyFixture(flags) &&
    atHome(flags, { url: flags.url, auth: 'oauth' }, async ({ home, mcporter, call }) => {
      await mcporter('auth', 'broker');
      assert.equal(await home.opened(), 1);
      question(flags.server).check(await call(question(flags.server)));
    }),
});
