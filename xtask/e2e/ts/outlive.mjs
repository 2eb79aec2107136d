// The stories of sessions that outlive their process, told by the TypeScript SDK's client: the child
// goes, or the whole broker, and the client does not notice.
//
// One line per story, as in `client.mjs`. What befalls the broker is asked for on standard output
// (`please - kill the child`) and has been done when a line comes on standard input (`done - 4711`);
// the README has the list. `../py/outlive.py` tells the same stories under the same names.

import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

import { LoggingMessageNotificationSchema, ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { open } from './browser.mjs';
import { call, leave, signIn } from './sign-in.mjs';
import { Teller } from './stories.mjs';
import { Inbox, isOpenGet } from './wire.mjs';

/** Real time a story may take, in milliseconds, beside the time it rotates for. */
const STORY_LIMIT = 120_000;

/** How many children must have answered: so many that tokens ended in between. */
const ENOUGH = 3;

/** The fixture's resource that changes when told to. */
const WATCHED = 'test://watched-resource';

const { values: flags } = parseArgs({
  options: {
    url: { type: 'string' },
    person: { type: 'string', default: 'ada' },
    password: { type: 'string' },
    provider: { type: 'string' },
    'rotate-for': { type: 'string' },
    only: { type: 'string' },
  },
});

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has something done to the broker, and returns what was said about it. */
async function please(what) {
  console.log(`please - ${what}`);
  const { value, done } = await answers.next();
  assert.ok(!done, `nobody is there to ${what}`);
  const [, said] = /^done - (.*)$/.exec(value) ?? assert.fail(`asked to ${what}: ${value}`);
  return said;
}

/** A session with the server at `/KIND/mcp` to which something happens that goes unnoticed. */
const unnoticed = (kind, steps) => async () => {
  await please('wait until there is no child');
  const { person, password, provider } = flags;
  const session = await signIn({ browser, url: `${flags.url}/${kind}/mcp`, kind, person, password, provider });
  await session.wire.until(isOpenGet);
  const figures = await steps(session);
  assertUnnoticed(session);
  await leave(session);
  return figures;
};

function assertUnnoticed({ wire, transport }) {
  const named = wire.exchanges.map(({ headers }) => headers.get('mcp-session-id')).filter(Boolean);
  assert.deepEqual([...new Set(named)], [transport.sessionId], 'sessions used');
  const posts = wire.exchanges.filter(({ method, body }) => method === 'POST' && String(body).startsWith('{'));
  assert.equal(posts.filter(({ body }) => body.includes('"initialize"')).length, 1, 'initializations');
  // A token of the broker's own may have ended; the SDK renews it and asks again.
  const refused = posts.filter(({ response }) => ![200, 202, 401].includes(response?.status));
  assert.deepEqual(refused.map(({ body, response }) => `${response?.status} to ${body}`), [], 'calls that failed');
}

/** Runs `steps`, after which the stream that was open has been opened once more. */
async function whileTheStreamReturns({ wire }, steps) {
  const before = wire.exchanges.length;
  const result = await steps();
  await wire.until(isOpenGet, before);
  return result;
}

/** The person is known to another child than before, once `steps` are done. */
const another = (steps) =>
  unnoticed('gitea', async (session) => {
    await call(session);
    const before = await please('name the child');
    const figures = await whileTheStreamReturns(session, async () => {
      const said = await steps(session);
      await call(session);
      return said;
    });
    assert.notEqual(await please('name the child'), before);
    return figures;
  });

/** The child ends because nobody calls. An open stream is use, so the network has to go first. */
async function sleep({ wire }) {
  wire.goAway();
  await please('wait until there is no child');
  wire.comeHome();
}

/** A notification that no call waits for arrives once `steps` are done. */
const stillTold = (steps) =>
  unnoticed('fixture', async (session) => {
    const updated = new Inbox();
    session.client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => updated.push(params.uri));
    await session.client.subscribeResource({ uri: WATCHED });
    const figures = await whileTheStreamReturns(session, steps);
    // Whoever was asleep is told that it may have changed.
    await updated.until((uri) => uri === WATCHED);
    const before = session.wire.exchanges.length;
    await session.client.callTool({ name: 'touch_resource', arguments: { uri: WATCHED, after_ms: 300 } });
    await updated.until((_, at) => at === 1);
    const carrier = session.wire.exchanges.findLast(({ text }) => text.includes('resources/updated'));
    assert.equal(carrier.method, 'GET');
    assert.ok(session.wire.exchanges.indexOf(carrier) < before, 'it came over the stream that was open');
    return figures;
  });

const STORIES = {
  'an idle session sleeps, and the next call wakes it': another(sleep),

  'a killed child is replaced': another(async () => {
    await please('kill the child');
  }),

  'the broker is stopped and started': another(() => please('restart the broker')),

  'the broker is killed and started': another(() => please('kill the broker')),

  'log level and subscription are in force after it slept': unnoticed('fixture', async (session) => {
    const { client } = session;
    const [logged, updated] = [new Inbox(), new Inbox()];
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => logged.push(params));
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => updated.push(params.uri));
    const log = () => client.callTool({ name: 'test_tool_with_logging', arguments: {} });
    await log();
    await logged.until(() => true);
    await client.setLoggingLevel('error');
    await client.subscribeResource({ uri: WATCHED });
    const heard = logged.all.length;
    await whileTheStreamReturns(session, async () => {
      await sleep(session);
      await log();
    });
    assert.equal(logged.all.length, heard, 'it says what it was told to keep to itself');
    await updated.until((uri) => uri === WATCHED);
    const before = updated.all.length;
    await client.callTool({ name: 'touch_resource', arguments: { uri: WATCHED } });
    await updated.until((uri, at) => at >= before && uri === WATCHED);
  }),

  'notifications arrive after the broker was stopped and started': stillTold(() => please('restart the broker')),

  'notifications arrive after the broker was killed and started': stillTold(() => please('kill the broker')),
};

const ROTATION = {
  'no call fails while tokens come and go': unnoticed('who', async (session) => {
    const [children, failures] = [new Set(), []];
    let [calls, longest] = [0, 0];
    const begun = performance.now();
    const lasts = () => performance.now() - begun;
    // On a busy machine each child takes longer to come, and for that long it goes on.
    while (lasts() < rotateFor || (children.size < ENOUGH && lasts() < rotateFor + STORY_LIMIT / 2)) {
      const asked = performance.now();
      calls += 1;
      try {
        children.add(JSON.parse(await call(session)).pid);
      } catch (error) {
        failures.push(`call ${calls}: ${error.message}`);
      }
      longest = Math.max(longest, performance.now() - asked);
    }
    const figures = `${calls.toLocaleString('en')} calls, ${children.size} children, ${failures.length} failed, the longest took ${Math.round(longest)} ms`;
    assert.equal(failures.length, 0, `${figures}; ${failures[0]}`);
    assert.ok(children.size >= ENOUGH, figures);
    return figures;
  }),
};

if (!flags.url || flags.password === undefined) {
  console.error('usage: outlive.mjs --url BROKER --person NAME --password TEXT [--provider forgejo] [--rotate-for SECONDS] [--only TEXT]');
  process.exit(64);
}
const rotateFor = Number(flags['rotate-for'] ?? 0) * 1000;
const browser = await open();
const teller = new Teller(STORY_LIMIT + rotateFor);
await teller.all(rotateFor ? ROTATION : STORIES, flags.only);
await browser.close();
process.exit(teller.end());
