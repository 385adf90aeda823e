// Talks to the gateway: same origin, the session's cookie, and its CSRF token on everything that changes something.

/** A refusal, in the gateway's own words. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the gateway answered with status ${status}`);
    this.status = status;
    this.code = body?.error?.code ?? null;
    this.param = body?.error?.param ?? null;
  }
}

let csrf = null;

/** The session: who is signed in, and as what. */
export async function openSession() {
  const session = await call('GET', 'session');
  csrf = session.csrf;
  return session;
}

export async function signOut() {
  await call('POST', 'logout');
  toLogin();
}

/** Where the admin API is, seen from the dashboard. */
export const adminUrl = path => `../admin/v1/${path}`;

/** Where the owner's routes are. */
export const ownerUrl = path => `api/${path}`;

export const admin = {
  get: path => call('GET', adminUrl(path)),
  list: async path => (await call('GET', adminUrl(path))).data,
  send: (method, path, body) => call(method, adminUrl(path), body),
};

export const owner = {
  get: path => call('GET', ownerUrl(path)),
  list: async path => (await call('GET', ownerUrl(path))).data,
  send: (method, path, body) => call(method, ownerUrl(path), body),
};

/** The answer itself, for what streams. */
export async function post(path, body, signal) {
  const response = await raw('POST', ownerUrl(path), body, signal);
  if (!response.ok) throw new Refused(response.status, await readJson(response));
  return response;
}

/** A part of an address: ids of models have slashes. */
export const part = encodeURIComponent;

/** A query without what is empty. */
export function query(values) {
  const said = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return said.length ? `?${new URLSearchParams(said)}` : '';
}

async function call(method, url, body) {
  const response = await raw(method, url, body);
  const answer = response.status === 204 ? null : await readJson(response);
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

async function raw(method, url, body, signal) {
  const headers = {};
  if (method !== 'GET') headers['x-farebox-csrf'] = csrf ?? '';
  if (body !== undefined) headers['content-type'] = 'application/json';
  let response;
  try {
    response = await fetch(url, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (fault) {
    if (fault.name === 'AbortError') throw fault;
    throw new Error('the gateway cannot be reached', { cause: fault });
  }
  if (response.status === 401) toLogin();
  return response;
}

/** What is no JSON, a proxy's page for example, has nothing to say. */
const readJson = response => response.json().catch(() => null);

function toLogin() {
  location.assign('login');
}
