// A home with nothing in it, and a person who comes when a program opens a browser there.

import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { program } from './browser.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Where the packages' programs are. */
export const installed = (path) => join(here, 'node_modules', path);

export class Home {
  /** For `person`, who knows `password` and chooses `provider` where there are several ways. */
  static async make({ person, password, provider }) {
    const home = new Home();
    home.dir = await mkdtemp(join(tmpdir(), 'e2e-home-'));
    const words = ['--person', person, '--password', password];
    if (provider) words.push('--provider', provider);
    const quoted = [process.execPath, join(here, 'browser.mjs'), ...words].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
    const at = (name) => `'${join(home.dir, name)}'`;
    const script = `#!/bin/sh\necho opened >> ${at('opened')}\n${quoted.join(' ')} "$1" >> ${at('browser.log')} 2>&1 || echo gone >> ${at('gone')}\n`;
    await mkdir(join(home.dir, 'bin'));
    // Programs ask for the browser by `BROWSER`, or start what the desktop has for it.
    for (const name of ['browser', 'bin/xdg-open']) {
      await writeFile(join(home.dir, name), script);
      await chmod(join(home.dir, name), 0o700);
    }
    return home;
  }

  /** Nothing of this machine's own settings. */
  get env() {
    return {
      PATH: `${join(this.dir, 'bin')}${delimiter}${process.env.PATH}`,
      HOME: this.dir,
      BROWSER: join(this.dir, 'browser'),
      CHROMIUM: program(),
    };
  }

  /** How often a browser was opened. */
  opened() {
    return this.#lines('opened');
  }

  /** How often a browser ended elsewhere than at the application. */
  gone() {
    return this.#lines('gone');
  }

  log() {
    return readFile(join(this.dir, 'browser.log'), 'utf8').catch(() => '');
  }

  /** Runs a program to its end and returns what it printed. One that `until` says is in vain is ended. */
  async run(command, words, { env = {}, until } = {}) {
    const child = spawn(command, words, { env: { ...this.env, ...env }, cwd: this.dir, stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (text) => (stdout += text));
    child.stderr.on('data', (text) => (stderr += text));
    const ended = new Promise((end, fail) => {
      child.on('error', fail);
      child.on('close', end);
    });
    const watch = until && setInterval(async () => (await until()) && child.kill(), 100);
    const code = await ended;
    clearInterval(watch);
    return { code, stdout, stderr };
  }

  /** Starts a program that speaks JSON-RPC on its pipes, line by line. */
  converse(command, words, { env = {} } = {}) {
    return new Conversation(spawn(command, words, { env: { ...this.env, ...env }, cwd: this.dir }));
  }

  remove() {
    return rm(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  async #lines(name) {
    return (await readFile(join(this.dir, name), 'utf8').catch(() => '')).split('\n').length - 1;
  }
}

/** JSON-RPC with a program. */
export class Conversation {
  #waiting = new Map();
  #last = 0;
  #stderr = '';

  constructor(child) {
    this.child = child;
    this.child.stderr.on('data', (text) => {
      this.#stderr += text;
    });
    this.ended = new Promise((ended) => this.child.on('close', ended));
    this.ended.then(() => {
      const words = this.#stderr.trim().split('\n').slice(-3).join(' ');
      for (const { reject } of this.#waiting.values()) reject(new Error(`the program ended: ${words}`));
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
    if (error !== undefined) throw new Error(`${method} failed: ${JSON.stringify(error)}`);
    return result;
  }

  async stop() {
    this.child.stdin.end();
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
    await this.ended;
    clearTimeout(timer);
  }
}
