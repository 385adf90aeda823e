// What happens now: pushed by the gateway every second to staff, and asked for by owners. There is one connection,
// whichever page is shown.

import { adminUrl, openSession } from './api.js';

/** Without an event for this long the connection is taken for lost, though it may look open. */
const SILENCE_MS = 6000;
const RETRY_MS = 2000;
const POLL_MS = 2000;

const listeners = new Set();
let source = null;
let silence = null;
let last = null;
let showState = () => {};

/** Connects. `show` is told `live` or `reconnecting`. */
export function startLive(show) {
  showState = show;
  show('reconnecting');
  connect();
}

/** The same for owners, whom nothing is pushed to: `read` asks for what there is. */
export async function startPolling(read, show) {
  for (;;) {
    if (!document.hidden) {
      try {
        tell(await read());
        show('live');
      } catch {
        show('reconnecting');
      }
    }
    await new Promise(resolve => setTimeout(resolve, POLL_MS));
  }
}

/** Calls `listener` with each event until the signal ends it; at once with the last one, if there is one. */
export function onLive(listener, signal) {
  listeners.add(listener);
  signal.addEventListener('abort', () => listeners.delete(listener));
  if (last) listener(last);
}

function connect() {
  source?.close();
  source = new EventSource(adminUrl('live'));
  source.onmessage = message => {
    showState('live');
    listen();
    tell(JSON.parse(message.data));
  };
  source.onerror = () => {
    showState('reconnecting');
    // After a network fault the browser tries again by itself; after a refusal it does not.
    if (source.readyState === EventSource.CLOSED) retry();
  };
  listen();
}

function tell(event) {
  last = event;
  listeners.forEach(listener => listener(event));
}

function listen() {
  clearTimeout(silence);
  silence = setTimeout(retry, SILENCE_MS);
}

/** Asking for the session first tells a gateway that is away from a session that is over, which leads to the login. */
async function retry() {
  clearTimeout(silence);
  source?.close();
  showState('reconnecting');
  try {
    await openSession();
    connect();
  } catch {
    silence = setTimeout(retry, RETRY_MS);
  }
}
