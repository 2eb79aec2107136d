// Watching a client's HTTP exchanges, and cutting the connection under one when a story asks for it.

/** How Node's HTTP client says that a connection is gone. */
export const LOST = 'terminated';

/** Watches every HTTP exchange of one client, and cuts the connection under one when asked. */
export class Wire {
  exchanges = [];
  #waiting = [];
  #home = Promise.resolve();
  #comeHome = () => {};
  #meetings = [];

  fetch = async (url, init) => {
    await this.#home;
    const cut = new AbortController();
    const exchange = { method: init.method, headers: new Headers(init.headers), body: init.body ?? '', text: '', cut: () => cut.abort(new TypeError(LOST)) };
    this.exchanges.push(exchange);
    // Aborting makes the HTTP client destroy the socket, which is what a lost network looks like; so does
    // the error, by which clients tell it from a cancellation of their own.
    const signal = init.signal ? AbortSignal.any([init.signal, cut.signal]) : cut.signal;
    const response = await fetch(url, { ...init, signal });
    exchange.response = response;
    this.#changed();
    await this.#meetings.find(({ matches }) => matches(exchange))?.arrive();
    if (!response.headers.get('content-type')?.startsWith('text/event-stream')) return response;
    const decoder = new TextDecoder();
    const tap = new TransformStream({
      transform: (chunk, controller) => {
        exchange.text += decoder.decode(chunk, { stream: true });
        controller.enqueue(chunk);
        this.#changed();
      },
    });
    return new Response(response.body.pipeThrough(tap), { status: response.status, headers: response.headers });
  };

  /** The network goes, as it does when a lid is closed: open connections break, and nothing is asked. */
  goAway() {
    this.#home = new Promise((home) => (this.#comeHome = home));
    for (const exchange of this.exchanges) exchange.cut();
  }

  /** It is there again, and what had to wait goes on. */
  comeHome() {
    this.#comeHome();
  }

  /**
   * The client gets the answers of the next `count` exchanges that answer `matches` once all of them are
   * there, so that none of these exchanges can build on another's answer.
   */
  together(count, matches) {
    let there = 0;
    let open;
    const complete = new Promise((resolve) => (open = resolve));
    const arrive = () => {
      there += 1;
      if (there === count) open();
      return complete;
    };
    this.#meetings.push({ matches, arrive });
  }

  /** Waits until an exchange answers `matches`, and returns it; none of the first `from` is asked. */
  async until(matches, from = 0) {
    for (;;) {
      const found = this.exchanges.slice(from).find(matches);
      if (found) return found;
      await new Promise((wake) => this.#waiting.push(wake));
    }
  }

  #changed() {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** An open GET stream, in the eyes of `Wire.until`. */
export const isOpenGet = (exchange) => exchange.method === 'GET' && exchange.response?.status === 200;

/** Things that arrive, to be awaited. */
export class Inbox {
  all = [];
  #waiting = [];

  push(item) {
    this.all.push(item);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async until(matches) {
    for (;;) {
      const found = this.all.find(matches);
      if (found !== undefined) return found;
      await new Promise((wake) => this.#waiting.push(wake));
    }
  }
}
