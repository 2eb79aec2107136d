// Telling stories: one line each, and what the programs that tell them have in common.

import assert from 'node:assert/strict';

/** Says that a story does not apply here. */
export class Skip extends Error {}
export const skip = (why) => {
  throw new Skip(why);
};

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** The text blocks of a tool's result, joined. */
export const textOf = (result) => result.content.filter((block) => block.type === 'text').map((block) => block.text).join('\n');

/** Settles as `promise` does, or with an error after `limit` milliseconds. */
export async function within(limit, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${limit / 1000} s`)), limit);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Tells stories within a limit of real time each, in milliseconds, and counts how they went. */
export class Teller {
  #passed = 0;
  #failed = 0;

  constructor(limit) {
    this.limit = limit;
    // Stories cut connections on purpose; whatever is left dangling must not end the program early.
    process.on('unhandledRejection', () => {});
  }

  /** All stories whose name contains `only`; a story may return figures for its line. */
  async all(stories, only) {
    for (const [name, story] of Object.entries(stories)) {
      if (!only || name.includes(only)) await this.tell(name, story);
    }
  }

  async tell(name, story) {
    try {
      const figures = await within(this.limit, story());
      this.#passed += 1;
      console.log(`ok - ${name}${figures ? `: ${figures}` : ''}`);
    } catch (error) {
      if (error instanceof Skip) return console.log(`skipped - ${name}: ${error.message}`);
      this.#failed += 1;
      console.log(`FAILED - ${name}: ${String(error?.message ?? error).split('\n').slice(0, 3).join(' ')}`);
    }
  }

  /** Prints the sum; what the program is to exit with. */
  end() {
    console.log(`${this.#passed} passed, ${this.#failed} failed`);
    return this.#failed === 0 ? 0 : 1;
  }
}

const is = (expected) => (text) => assert.equal(text, expected);
const names = (member) => (text, person) => assert.equal(JSON.parse(text)[member], person, 'whom the server acts for');

/** What each kind of server is asked, and what is known of its answer. */
const SERVERS = {
  fixture: { tool: { name: 'echo', arguments: { text: 'hello' } }, check: is('hello') },
  everything: { tool: { name: 'echo', arguments: { message: 'hello' } }, check: is('Echo: hello') },
  gitea: { tool: { name: 'get_server_info', arguments: {} }, check: names('gitea_user') },
  who: { tool: { name: 'who', arguments: {} }, check: names('login') },
};

/** The names of these. */
export const KINDS = Object.keys(SERVERS);

/** The tool that `kind` is asked with. */
export const toolOf = (kind) => SERVERS[kind].tool;

/** Checks the answer to that, which is for `person`, and returns its text. */
export function checked(kind, result, person) {
  const text = textOf(result);
  assert.ok(!result.isError, text);
  SERVERS[kind].check(text, person);
  return text;
}
