// What the programs that call tools have in common, whatever their client speaks: their arguments, and the
// stories that all of them tell. `client.mjs` has sessions, `modern.mjs` has none, and `remote-calls.mjs`
// stands behind another program.

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';

import { MODEL_SAYS, assertIncreasing, servers } from './abilities.mjs';
import { Teller, skip, textOf } from './stories.mjs';

/** Real time a story may take on a busy machine, in milliseconds: less than the tool takes that is cancelled. */
export const STORY_LIMIT = 45_000;

/** The program's arguments. `more` are those that it alone has, each with the values it may have. */
export function parseFlags(program, more = {}) {
  const names = ['url', 'token', 'server', 'path', 'only', ...Object.keys(more)];
  const { values: flags } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) });
  const kinds = servers('');
  const isWhole = flags.url && kinds[flags.server] && (flags.path || !['filesystem', 'git'].includes(flags.server));
  if (isWhole && Object.entries(more).every(([name, values]) => values.includes(flags[name]))) return flags;
  const own = Object.entries(more).map(([name, values]) => `--${name} ${values.join('|')} `).join('');
  console.error(`usage: ${program} ${own}--url URL [--token BEARER] --server ${Object.keys(kinds).join('|')} [--path DIR] [--only TEXT]`);
  return process.exit(64);
}

/** Tells the stories, or those that `only` names; the first one makes what the others need, which `isReady` says. */
export async function tellAll(stories, { only, isReady, end }) {
  const teller = new Teller(STORY_LIMIT);
  for (const [name, story] of Object.entries(stories)) {
    if (isReady() && only && !name.includes(only)) continue;
    await teller.tell(name, story);
    if (!isReady()) break;
  }
  await end();
  process.exit(teller.end());
}

/** Stories about the tools of one server. A `session` has the SDK's `client`. */
export class Calls {
  /** `callTool` is how the SDK's client is asked: `(client, {name, arguments}, {signal, onprogress})`. */
  constructor(flags, callTool) {
    this.abilities = servers(flags.path)[flags.server];
    this.callTool = callTool;
  }

  /** The server's entry for a story, or a skip. */
  ability(key) {
    return this.abilities[key] ?? skip('the server offers nothing for it');
  }

  /** Calls a tool, checks its answer where it is known, and returns its text with the progress seen. */
  async call({ client }, { name, arguments: args = {}, text }, { signal, onStep } = {}) {
    const progress = [];
    const onprogress = (step) => {
      progress.push(step.progress);
      onStep?.(step);
    };
    const result = await this.callTool(client, { name, arguments: args }, { signal, onprogress });
    assert.ok(!result.isError, `${name} failed: ${textOf(result)}`);
    if (text !== undefined) assert.equal(textOf(result), text);
    return { text: textOf(result), progress };
  }

  async lists({ client }) {
    const offered = client.getServerCapabilities();
    const names = (await client.listTools()).tools.map((tool) => tool.name);
    for (const tool of this.abilities.tools) assert.ok(names.includes(tool), `no ${tool} in ${names}`);
    if (offered.resources) {
      // Some servers declare resources and have none.
      for (const { uri } of (await client.listResources()).resources.slice(0, 1)) {
        assert.equal((await client.readResource({ uri })).contents[0].uri, uri);
      }
    }
    if (offered.prompts) assert.ok(Array.isArray((await client.listPrompts()).prompts));
  }

  async answers(session) {
    const { contentSteps, content } = this.abilities;
    await (contentSteps ? contentSteps(session.client) : this.call(session, content));
  }

  async progresses(session) {
    assertIncreasing((await this.call(session, this.ability('progress'))).progress);
  }

  async samples(session) {
    const { text } = await this.call(session, this.ability('sampling'));
    assert.ok(text.includes(MODEL_SAYS), `no answer in ${text}`);
  }

  /** `filledIn` gives the content of the first form that the person was shown. */
  async elicits(session, filledIn) {
    const { text } = await this.call(session, this.ability('elicitation'));
    for (const value of Object.values(filledIn())) assert.ok(text.includes(value), `no ${value} in ${text}`);
  }

  /** `checkSteps` looks at the progress of a call that tells of so many steps. */
  async runsAtOnce(session, checkSteps = () => {}) {
    const calls = this.ability('atOnce');
    const alone = [];
    for (const one of calls) alone.push(one.text ?? (await this.call(session, one)).text);
    const together = await Promise.all(calls.map((one) => this.call(session, one)));
    together.forEach(({ text, progress }, i) => {
      assert.equal(text, alone[i], 'the answer differs from the one given alone');
      const { steps } = calls[i].arguments ?? {};
      if (steps) checkSteps(progress, steps);
    });
  }

  /** Cancels a call once it `isUnderWay`, which is told the tool and a promise of its first step. */
  async cancels(session, isUnderWay) {
    const slow = this.ability('slow');
    const cancel = new AbortController();
    let onStep;
    const stepped = new Promise((resolve) => (onStep = resolve));
    const refused = assert.rejects(this.call(session, slow, { signal: cancel.signal, onStep }), /enough/);
    await isUnderWay(slow, stepped);
    cancel.abort('enough');
    await refused;
  }

  async crashes(session) {
    const crash = this.ability('crash');
    await assert.rejects(this.call(session, crash), (error) => typeof error.code === 'number');
  }

  /** The server answers as before. */
  async goesOn(session) {
    await this.call(session, this.ability('after'));
  }

  /** Some servers ask when they please and digest the answer in their own time, so their view is polled; the
   * story's limit bounds it. */
  async showsRoots(session, shown) {
    const list = this.ability('roots');
    while (!(await this.call(session, list)).text.includes(shown));
  }
}
