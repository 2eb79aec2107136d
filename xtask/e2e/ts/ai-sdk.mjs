// The stories of `clients.mjs`, told by the AI SDK's own MCP client, which shares no code with the
// TypeScript SDK's.

import assert from 'node:assert/strict';

import { createMCPClient } from '@ai-sdk/mcp';

import { SEPARATORS, isListed, main, onlyFixture, question, textOf } from './clients.mjs';
import { LOST, Wire, isOpenGet } from './wire.mjs';

/**
 * Whether this client complains of what every server does that keeps to the specification: it asks for a
 * stream before it has a session, reads the event that has an id alone as a message, and knows no
 * notifications. It goes on all the same.
 */
const isItsOwn = ({ message, cause }) =>
  /GET SSE failed: 40[04]/.test(message) ||
  (message.endsWith('Failed to parse message') && cause?.text === '') ||
  message === 'Unsupported message type';

/** Connects, runs `steps`, closes, and fails if the client met an error that it told nobody else. */
const connected = async (flags, steps, { url = flags.url, headers = {} } = {}) => {
  const wire = new Wire();
  const errors = [];
  const client = await createMCPClient({
    transport: { type: 'http', url, headers: { authorization: `Bearer ${flags.token}`, ...headers }, fetch: wire.fetch },
    onUncaughtError: (error) => errors.push(error),
  });
  const call = async ({ name, arguments: args = {} }) => {
    const tools = await client.tools();
    assert.ok(tools[name], `no tool ${name}`);
    return tools[name].execute(args, { messages: [], toolCallId: 'e2e' });
  };
  try {
    await steps({ client, call, wire });
    const complaints = errors.filter((error) => !isItsOwn(error) && !String(error).includes(LOST));
    assert.ok(!complaints.length, complaints.map(({ message, cause }) => `${message} (${cause})`).join('; '));
  } finally {
    await client.close();
  }
  return wire;
};

/** The response to the last call. */
const answerOf = (wire) => wire.exchanges.findLast(({ body }) => body.includes('"tools/call"'));

main({
  'it connects, lists the tools and calls one': (flags) =>
    connected(flags, async ({ client, call }) => {
      isListed(flags.server, (await client.listTools()).tools);
      question(flags.server).check(textOf(await call(question(flags.server))));
    }),

  'it reads an answer that comes as a stream, with line separators in it': (flags) =>
    onlyFixture(flags) &&
    connected(flags, async ({ call, wire }) => {
      const answer = await call({ name: 'echo', arguments: { text: SEPARATORS, log: true } });
      assert.equal(textOf(answer), SEPARATORS);
      const { response, text } = answerOf(wire);
      assert.match(response.headers.get('content-type'), /^text\/event-stream/);
      assert.ok(!/[\u0085\u2028\u2029]/.test(text), 'no reader of lines is to split an event');
    }),

  'its stream is there, and comes back after the connection breaks': (flags) =>
    onlyFixture(flags) &&
    connected(flags, async ({ wire, call }) => {
      const first = await wire.until(isOpenGet);
      first.cut();
      await wire.until(isOpenGet, wire.exchanges.indexOf(first) + 1);
      question(flags.server).check(textOf(await call(question(flags.server))));
    }),

  'it is let in under localhost and with a slash at the end': async (flags) => {
    onlyFixture(flags);
    const url = `${flags.url.replace('127.0.0.1', 'localhost')}/`;
    await connected(flags, async ({ client }) => isListed(flags.server, (await client.listTools()).tools), { url });
  },

  'it gets a session although its settings still name an old one': async (flags) => {
    onlyFixture(flags);
    const headers = { 'mcp-session-id': '0123456789abcdef'.repeat(3) };
    await connected(flags, async ({ client }) => isListed(flags.server, (await client.listTools()).tools), { headers });
  },

  'it ends its session': async (flags) => {
    onlyFixture(flags);
    const wire = await connected(flags, async () => {});
    const farewell = wire.exchanges.find(({ method }) => method === 'DELETE');
    assert.ok([200, 204].includes(farewell?.response?.status), `DELETE was answered with ${farewell?.response?.status}`);
  },
});
