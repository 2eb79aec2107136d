// Signing in with the TypeScript SDK's client, from a bare address: challenge, registration, browser,
// code, tokens, session. `browser.mjs` is the person.

import assert from 'node:assert/strict';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { Application, Listener } from './application.mjs';
import { checked, toolOf } from './stories.mjs';
import { Wire } from './wire.mjs';

/**
 * A client of `application` at `url`; the SDK finds out by itself that it has to sign in. With
 * `streamless` it is told what a server without a standalone stream would answer to its GET.
 */
function clientOf(application, url, streamless) {
  const wire = new Wire();
  const isStream = (address, { method }) => method === 'GET' && String(address) === url;
  const fetch = async (address, init = {}) => {
    if (streamless && isStream(address, init)) return new Response(null, { status: 405 });
    return wire.fetch(address, { method: 'GET', ...init });
  };
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: application, fetch });
  return { wire, transport, client: new Client({ name: 'e2e-oauth', version: '1.0.0' }) };
}

/**
 * Connects somebody from nothing to `url`, where a server of the given kind is. `provider` is the way
 * of signing in to choose. With `deny` the person says no, and the error comes back. With `streamless`
 * the client does without the standalone stream.
 */
export async function signIn({ browser, url, kind, person: name, password, provider, deny, streamless }) {
  const listener = await Listener.open();
  const person = await browser.person(name, password);
  try {
    const application = new Application(listener.redirectUri);
    const first = clientOf(application, url);
    await assert.rejects(first.client.connect(first.transport), UnauthorizedError);
    const arrived = await person.visit(application.authorizationUrl, { provider, deny });
    const { searchParams } = new URL(arrived);
    assert.equal(searchParams.get('state'), application.expectedState, 'the state came back');
    if (searchParams.has('error')) return { error: searchParams.get('error') };
    await first.transport.finishAuth(searchParams.get('code'));
    const session = clientOf(application, url, streamless);
    await session.client.connect(session.transport);
    return { ...session, application, kind, person: name };
  } finally {
    await person.close();
    await listener.close();
  }
}

/** Calls the server's tool, checks what is known of the answer, and returns its text. */
export async function call({ client, kind, person }) {
  return checked(kind, await client.callTool(toolOf(kind)), person);
}

/** Ends the session as a polite client does. */
export async function leave({ client, transport }) {
  await transport.terminateSession();
  await client.close();
}
