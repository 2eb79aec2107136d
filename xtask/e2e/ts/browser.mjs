// A person with a browser: goes through whatever pages stand between an authorization address and the
// application's redirect address. It reads pages as people do, by their fields and the words on their
// buttons, so that it fits the broker's pages, the forge double's, and oidc-provider's.
//
//     node browser.mjs --person ada --password … [--provider forgejo] [--deny] URL
//
// prints where it ended, without the query, since that holds the code.

import { existsSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { chromium } from 'playwright-core';

/** Pages between start and end; the longest way has seven. */
const MAX_PAGES = 12;

/** Real time for one page, in milliseconds. */
const PAGE_LIMIT = 45_000;

/** Real time from start to end, when run as a program. */
const VISIT_LIMIT = 180_000;

/** Real time for an application to take what it was sent. */
const ARRIVAL_LIMIT = 15_000;

/** Words of buttons that let an application in, and of those that do not. */
const YES = /^(approve|allow|authori[sz]e|accept|continue|confirm|grant|yes|sign[ -]?in|log[ -]?in)\b/i;
const NO = /^(deny|refuse|reject|cancel|decline|no\b|don.t)/i;

/** Where browsers are found; `CHROMIUM` names another. */
const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The browser's program. */
export function program() {
  const found = [process.env.CHROMIUM, ...BROWSERS].find((path) => path && existsSync(path));
  if (!found) throw new Error('no browser: install your system\'s chromium, or say where it is in CHROMIUM');
  return found;
}

/** Starts one browser; each person gets a profile of their own in it. */
export async function open() {
  const browser = await chromium.launch({
    executablePath: program(),
    // The sandbox refuses to run as root, which is what containers of tests run as; these pages are our own.
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  });
  return { person: async (name, password) => new Person(await browser.newContext(), name, password), close: () => browser.close() };
}

/** The page with the password came again. */
export class PasswordRefused extends Error {}

/** Somebody with a name, a password and cookies. */
export class Person {
  #context;
  #asked = 0;

  constructor(context, name, password) {
    this.#context = context;
    this.name = name;
    this.password = password;
    /** Titles of the pages seen, for stories that count questions. */
    this.seen = [];
  }

  /**
   * Goes from `url` to the redirect address and returns that address with all it was given.
   *
   * `provider` is the way of signing in to choose where there are several; `deny` refuses instead.
   */
  async visit(url, { provider, deny = false, redirectUri = new URL(url).searchParams.get('redirect_uri') } = {}) {
    if (!redirectUri) throw new Error('the authorization address has no redirect_uri');
    const page = await this.#context.newPage();
    page.setDefaultTimeout(PAGE_LIMIT);
    this.seen = [];
    this.#asked = 0;
    // Seen when it is asked for, since nobody may listen there, or no browser know its scheme.
    const arrival = new Promise((arrived) => {
      page.on('request', (request) => {
        if (request.isNavigationRequest() && isAt(request.url(), redirectUri)) arrived(request);
      });
    });
    try {
      await Promise.race([page.goto(url), arrival]).catch(() => {});
      for (let step = 0; step < MAX_PAGES; step += 1) {
        // Whatever was asked for last has to have come, before the page is looked at.
        const end = await Promise.race([arrival, page.waitForLoadState('load').then(() => null)]);
        const last = end ?? (await soon(arrival));
        if (last) {
          // The application has to have it before the tab goes; nobody may be there to take it.
          await Promise.race([last.response().then((response) => response?.finished()), pause(ARRIVAL_LIMIT)]);
          return last.url();
        }
        this.seen.push(await page.title());
        const button = await this.#decide(page, { provider, deny });
        const left = new Promise((gone) => page.once('framenavigated', gone));
        await button.click({ noWaitAfter: true });
        await within(Promise.race([left, arrival]), () => describe(page).then((text) => `${text} stays after the click`));
      }
      throw new Error(`no end after ${MAX_PAGES} pages: ${this.seen.join(', ')}`);
    } finally {
      await page.close();
    }
  }

  /** The cookies of this person, for stories about what a page leaves behind. */
  cookies() {
    return this.#context.cookies();
  }

  close() {
    return this.#context.close();
  }

  /** Fills in what is asked for and returns the button to press. */
  async #decide(page, { provider, deny }) {
    const password = page.locator('input[type=password]:visible').first();
    if (await password.count()) {
      this.#asked += 1;
      if (this.#asked > 1) throw new PasswordRefused(`the password was not taken by ${await describe(page)}`);
      const form = page.locator('form').filter({ has: page.locator('input[type=password]') }).first();
      const name = form.locator('input:visible:not([type=password]):not([type=checkbox]):not([type=submit])').first();
      if (await name.count()) await name.fill(this.name);
      await password.fill(this.password);
      return form.locator('button:visible, input[type=submit]:visible').first();
    }
    const choice = page.locator(`button[name=choice][value=${deny ? 'deny' : 'approve'}]:visible`);
    if (await choice.count()) return choice.first();
    const buttons = await page.locator('button:visible, input[type=submit]:visible, a[role=button]:visible').all();
    const labels = await Promise.all(buttons.map(async (button) => ((await button.getAttribute('value')) && (await button.evaluate((it) => it.tagName)) === 'INPUT' ? button.getAttribute('value') : button.innerText())));
    const named = (pattern) => buttons.find((_, at) => pattern.test(labels[at].trim()));
    if (provider) {
      // The way's name stands on its button, or in the form behind it.
      const form = page.locator(`form:has(input[value="${provider}"]), form[action*="${provider}"]`).locator('button:visible').first();
      const found = named(new RegExp(`\\b${provider}`, 'i')) ?? ((await form.count()) ? form : undefined);
      if (found) return found;
    }
    const links = page.locator('a:visible', { hasText: /abort|cancel/i }).first();
    const found = deny ? (named(NO) ?? ((await links.count()) ? links : undefined)) : named(YES);
    if (found) return found;
    throw new Error(`nothing to press on ${await describe(page)}`);
  }
}

/** Whether `url` is the redirect address, whatever its query. */
function isAt(url, redirectUri) {
  const [here, there] = [new URL(url), new URL(redirectUri)];
  return here.protocol === there.protocol && here.host === there.host && here.pathname === there.pathname;
}

/** What `promise` has by the next turn, or null. */
const soon = (promise) => Promise.race([promise, new Promise((resolve) => setImmediate(() => resolve(null)))]);

const pause = (ms) => new Promise((done) => setTimeout(done, ms).unref());

/** `promise`, or an error with what `what` finds when the page's time is up. */
async function within(promise, what) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => what().then((text) => reject(new Error(text))), PAGE_LIMIT);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** A page in a line; its address without the query. */
async function describe(page) {
  const { origin, pathname } = new URL(page.url());
  const text = await page.locator('body').innerText().catch(() => '');
  return `"${await page.title().catch(() => '')}" at ${origin}${pathname}: ${text.replace(/\s+/g, ' ').slice(0, 300)}`;
}

/** Signs one person in, in a browser of their own. */
export async function visitOnce({ person, password, ...options }, url) {
  const browser = await open();
  try {
    return await (await browser.person(person, password)).visit(url, options);
  } finally {
    await browser.close();
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { values: flags, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      person: { type: 'string' },
      password: { type: 'string' },
      provider: { type: 'string' },
      deny: { type: 'boolean', default: false },
    },
  });
  if (!flags.person || flags.password === undefined || positionals.length !== 1) {
    console.error('usage: browser.mjs --person NAME --password TEXT [--provider NAME] [--deny] URL');
    process.exit(64);
  }
  // Whoever waits for us may have gone, and then nobody would end the browser.
  setTimeout(() => {
    console.error(`not there after ${VISIT_LIMIT / 1000} s`);
    process.exit(1);
  }, VISIT_LIMIT).unref();
  try {
    const { origin, pathname } = new URL(await visitOnce(flags, positionals[0]));
    console.log(`${origin}${pathname}`);
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
