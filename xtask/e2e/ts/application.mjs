// An application that signs somebody in: what it registers as, what it keeps, and where it listens for
// the code.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

/** The loopback address a browser is sent back to. */
export class Listener {
  #server = createServer((request, response) => {
    const url = new URL(request.url, this.redirectUri);
    if (url.pathname !== '/callback') return response.writeHead(404).end();
    response.setHeader('content-type', 'text/html').end('<title>Done</title>You may close this page.');
  });

  static async open() {
    const listener = new Listener();
    await new Promise((listening) => listener.#server.listen(0, '127.0.0.1', listening));
    listener.redirectUri = `http://127.0.0.1:${listener.#server.address().port}/callback`;
    return listener;
  }

  close() {
    this.#server.closeAllConnections();
    return new Promise((closed) => this.#server.close(closed));
  }
}

/** An `OAuthClientProvider` that keeps everything in memory and remembers what it was given. */
export class Application {
  /** Every token answer, in the order they came. */
  saved = [];
  registrations = 0;
  #client;
  #verifier;

  constructor(redirectUri) {
    this.redirectUrl = redirectUri;
    this.clientMetadata = {
      client_name: 'The end-to-end stories',
      redirect_uris: [redirectUri],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }

  state() {
    this.expectedState = randomUUID();
    return this.expectedState;
  }

  clientInformation() {
    return this.#client;
  }

  saveClientInformation(client) {
    this.registrations += 1;
    this.#client = client;
  }

  tokens() {
    return this.saved.at(-1);
  }

  saveTokens(tokens) {
    this.saved.push(tokens);
  }

  redirectToAuthorization(url) {
    this.authorizationUrl = url.href;
  }

  saveCodeVerifier(verifier) {
    this.#verifier = verifier;
  }

  codeVerifier() {
    return this.#verifier;
  }
}
