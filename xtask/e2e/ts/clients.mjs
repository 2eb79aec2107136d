// What the programs have in common that tell of clients which are packages of their own: `ai-sdk.mjs`,
// `mcporter.mjs`, `codex.mjs`. `../py/clients.py` is the same for those in Python.

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';

import { Teller, skip, textOf } from './stories.mjs';

export { textOf };

/** Real time a story may take, in milliseconds. A server that downloads itself may need most of it. */
const STORY_LIMIT = 120_000;

/** What some reader of lines takes for the end of one. */
export const SEPARATORS = 'one\u2028two\u2029three\u0085four';

const SERVERS = {
  fixture: {
    tools: ['echo', 'test_tool_with_logging'],
    question: { name: 'echo', arguments: { text: 'hello' }, check: (text) => assert.equal(text, 'hello') },
  },
  memory: {
    tools: ['create_entities', 'read_graph'],
    question: { name: 'read_graph', arguments: {}, check: (text) => assert.ok(Array.isArray(JSON.parse(text).entities)) },
  },
  time: {
    tools: ['get_current_time', 'convert_time'],
    question: {
      name: 'get_current_time',
      arguments: { timezone: 'UTC' },
      check: (text) => assert.equal(JSON.parse(text).timezone, 'UTC'),
    },
  },
};

/** What a server is asked; its `check` takes the text of the answer. */
export const question = (server) => SERVERS[server].question;

/** The story is about the client, and any server does: the one that starts at once. */
export const onlyFixture = ({ server }) => server === 'fixture' || skip('told with the fixture');

/** Checks the list of tools, by their names or by objects that have one. */
export function isListed(server, tools) {
  const names = tools.map((tool) => tool.name ?? tool);
  for (const name of SERVERS[server].tools) assert.ok(names.includes(name), `${name} is missing in ${names.join(', ')}`);
}

/** Tells `stories`, which are given the flags. */
export async function main(stories) {
  const { values: flags } = parseArgs({
    options: {
      url: { type: 'string' },
      token: { type: 'string' },
      server: { type: 'string' },
      person: { type: 'string', default: 'ada' },
      password: { type: 'string' },
      only: { type: 'string' },
    },
  });
  if (!flags.url || !flags.token || !SERVERS[flags.server] || flags.password === undefined) {
    console.error(`usage: ${process.argv[1]} --url URL --token TOKEN --server ${Object.keys(SERVERS).join('|')} --person NAME --password TEXT [--only TEXT]`);
    process.exit(64);
  }
  const teller = new Teller(STORY_LIMIT);
  const told = Object.entries(stories).map(([name, story]) => [name, async () => void (await story(flags))]);
  await teller.all(Object.fromEntries(told), flags.only);
  process.exit(teller.end());
}
