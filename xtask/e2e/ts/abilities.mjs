// What each kind of server can be asked, and what the imaginary person and the imaginary model say.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { textOf } from './stories.mjs';

/** What the imaginary model answers to a sampling request. */
export const MODEL_SAYS = 'the model of the end-to-end stories says hello';

/** Runs `git` in the repository at `path`, as the second opinion. */
const git = async (path, ...args) => (await promisify(execFile)('git', ['-C', path, ...args])).stdout.trim();

/** A call of the everything server that takes `duration` seconds and reports `steps` times. */
const longCall = (duration, steps) => ({
  name: 'trigger-long-running-operation',
  arguments: { duration, steps },
  text: `Long running operation completed. Duration: ${duration} seconds, Steps: ${steps}.`,
});

/**
 * What each kind of server can be asked. A call is `{name, arguments}`, with `text` where the answer
 * is known to the letter. A story whose entry is missing here is skipped. `path` is the directory or the
 * repository that the server was started with.
 */
export const servers = (path) => ({
  fixture: {
    tools: ['test_simple_text', 'test_tool_with_progress', 'test_sampling', 'test_elicitation', 'echo', 'sleep'],
    content: { name: 'test_simple_text', text: 'This is a simple text response for testing.' },
    progress: { name: 'test_tool_with_progress' },
    sampling: { name: 'test_sampling', arguments: { prompt: 'Say hello.' } },
    elicitation: { name: 'test_elicitation', arguments: { message: 'Who are you?' } },
    logging: { name: 'test_tool_with_logging' },
    atOnce: [
      { name: 'sleep', arguments: { ms: 200 } },
      { name: 'echo', arguments: { text: 'one' }, text: 'one' },
      { name: 'echo', arguments: { text: 'two' }, text: 'two' },
    ],
    slow: { name: 'sleep', arguments: { ms: 60_000 } },
    after: { name: 'echo', arguments: { text: 'still here' }, text: 'still here' },
    resumed: { name: 'test_tool_with_progress' },
    roots: { name: 'test_input_required_result_list_roots' },
    update: { uri: 'test://watched-resource', by: { name: 'touch_resource', arguments: { uri: 'test://watched-resource' } } },
    process: { name: 'pid' },
    crash: { name: 'crash' },
  },
  everything: {
    tools: ['echo', 'get-sum', 'trigger-long-running-operation', 'toggle-simulated-logging'],
    content: { name: 'echo', arguments: { message: 'grüße – 你好 \u2028 "q"' }, text: 'Echo: grüße – 你好 \u2028 "q"' },
    progress: longCall(0.3, 3),
    sampling: { name: 'trigger-sampling-request', arguments: { prompt: 'Say hello.' } },
    elicitation: { name: 'trigger-elicitation-request' },
    logging: { name: 'toggle-simulated-logging' },
    atOnce: [longCall(0.4, 4), longCall(0.3, 2), { name: 'get-sum', arguments: { a: 2, b: 40 }, text: 'The sum of 2 and 40 is 42.' }],
    slow: longCall(6, 60),
    after: { name: 'echo', arguments: { message: 'still here' }, text: 'Echo: still here' },
    resumed: longCall(1, 5),
    roots: { name: 'get-roots-list' },
    update: { uri: 'demo://resource/dynamic/text/1', by: { name: 'toggle-subscriber-updates' } },
  },
  filesystem: {
    tools: ['read_text_file', 'write_file', 'list_directory', 'list_allowed_directories'],
    contentSteps: async (client) => {
      const file = join(path, 'told-by-the-typescript-client.txt');
      const content = 'one\r\ntwo\n\tthree – drei\u2029\n';
      await client.callTool({ name: 'write_file', arguments: { path: file, content } });
      const read = await client.callTool({ name: 'read_text_file', arguments: { path: file } });
      assert.equal(textOf(read), content);
      assert.deepEqual(read.structuredContent, { content });
    },
    get atOnce() {
      return [
        { name: 'list_allowed_directories', text: `Allowed directories:\n${path}` },
        { name: 'list_directory', arguments: { path } },
        { name: 'get_file_info', arguments: { path } },
      ];
    },
    roots: { name: 'list_allowed_directories' },
  },
  git: {
    tools: ['git_status', 'git_log', 'git_show', 'git_diff'],
    contentSteps: async (client) => {
      const log = await client.callTool({ name: 'git_log', arguments: { repo_path: path, max_count: 1 } });
      assert.ok(textOf(log).includes(await git(path, 'rev-parse', 'HEAD')), `no HEAD commit in ${textOf(log)}`);
    },
    get atOnce() {
      const ask = (name) => ({ name, arguments: { repo_path: path } });
      return [ask('git_status'), ask('git_log'), { ...ask('git_show'), arguments: { repo_path: path, revision: 'HEAD' } }];
    },
  },
  'go-sdk': {
    tools: ['greet', 'log', 'sample', 'elicit (form)', 'roots'],
    content: { name: 'greet', arguments: { name: 'Ada' }, text: 'Hi Ada' },
    atOnce: ['one', 'two', 'three'].map((name) => ({ name: 'greet', arguments: { name }, text: `Hi ${name}` })),
  },
  'mcp-go': {
    tools: ['echo', 'add', 'longRunningOperation', 'getTinyImage'],
    content: { name: 'echo', arguments: { message: 'grüße – 你好 \u2028 "q"' }, text: 'Echo: grüße – 你好 \u2028 "q"' },
    progress: { name: 'longRunningOperation', arguments: { duration: 1, steps: 4 } },
    // None that counts its progress: the last one may come after the result, and is nobody's then.
    atOnce: [
      { name: 'add', arguments: { a: 2, b: 40 }, text: 'The sum of 2.000000 and 40.000000 is 42.000000.' },
      { name: 'echo', arguments: { message: 'one' }, text: 'Echo: one' },
      { name: 'echo', arguments: { message: 'two' }, text: 'Echo: two' },
    ],
    slow: { name: 'longRunningOperation', arguments: { duration: 6, steps: 60 } },
    after: { name: 'echo', arguments: { message: 'still here' }, text: 'Echo: still here' },
  },
});

/** Content that fits the form a server shows: every required field, strings marked as ours. */
export function fillIn(schema) {
  const value = (field) => {
    if (field.enum) return field.enum[0];
    if (field.type === 'boolean') return true;
    if (field.type === 'integer' || field.type === 'number') return field.minimum ?? 1;
    return field.format === 'email' ? 'stories@example.org' : 'told by the stories';
  };
  return Object.fromEntries((schema.required ?? []).map((name) => [name, value(schema.properties[name])]));
}

/** Progress was told at least twice, and went up. */
export function assertIncreasing(values) {
  assert.ok(values.length >= 2, `expected progress at least twice, got [${values}]`);
  for (let i = 1; i < values.length; i++) assert.ok(values[i] > values[i - 1], `progress went [${values}]`);
}
