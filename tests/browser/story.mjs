// The administrator's story and the owner's, under load: an account at its limit is given more, first by hand, then as it
// asked. What is said on stdout, a line a step, is what tests/it/browser.rs waits for; what it writes to stdin is its answer.

import assert from 'node:assert/strict';
import readline from 'node:readline/promises';
import { faults, inspect, newPage, open, shoot, signIn, start } from './browser.mjs';

const { ACCOUNT, ADMIN_TOKEN, DASHBOARD, OWNER_KEY, PROMPT } = process.env;
const STAFF = [
  'overview',
  'accounts',
  `accounts/${ACCOUNT}`,
  'asks',
  'keys',
  'models',
  'models/m',
  'engines',
  'routing',
  'usage',
  'receipts',
  'in-flight',
  'refusals',
  'audit',
  'settings',
];
const OWNER = ['home', 'usage', 'keys', 'limits', 'receipts', 'statements', 'playground'];

const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Tells the test how far it is, and waits for its answer. */
async function tell(step) {
  console.log(step);
  const { value } = await answers.next();
  return value;
}

async function number(row, field) {
  const text = await row.locator(`[data-field="${field}"]`).first().textContent();
  return Number(text.replace(/\D+/g, ''));
}

/** Waits until a request's receipt is there: a moment after its end. */
async function booked(page, receipt) {
  for (let status = null; status !== 'settled';) {
    const answer = await page.request.get(`${DASHBOARD}api/${receipt}`);
    status = answer.ok() ? (await answer.json()).status : null;
  }
}

/** Has it explained which engine of `routed` a request would go to. */
async function explain(page, request) {
  await open(page, 'routing');
  await page.getByLabel('Model').selectOption('routed');
  await put(page, request);
}

async function put(page, request) {
  const text = page.getByLabel('Prompt or request body');
  await text.fill(request);
  await text.press('Tab');
  await page.keyboard.press('Enter');
}

const browser = await start();
const staff = await newPage(browser);
await staff.goto(DASHBOARD);
await inspect(staff, 'login');
await shoot(staff, 'login');
await signIn(staff, ADMIN_TOKEN);
await staff.locator('#live[data-state=live]').waitFor();

// At 200 of 200, on two replicas, with refusals climbing.
await open(staff, 'accounts');
const row = staff.locator(`tr[data-account="${ACCOUNT}"]`);
await row.getByText('200 of 200').waitFor();
const before = await number(row, 'refused');
await staff.waitForFunction(
  ([account, before]) => {
    const cell = document.querySelector(`tr[data-account="${account}"] [data-field="refused"]`);
    return Number(cell.textContent.replace(/\D+/g, '')) > before;
  },
  [ACCOUNT, before],
);
await shoot(staff, 'at-its-limit');

// Raised where it stands: Enter saves.
await row.locator('[data-action=edit-limit]').click();
await row.locator('[data-field=limit-input]').fill('400');
await staff.keyboard.press('Enter');
await row.getByText('of 400').waitFor();
assert.equal(await tell('raised'), 'no refusals');
await row.getByText(/^(2\d[1-9]|300) of 400$/).waitFor();
await shoot(staff, 'raised');

// The owner asks for more, and says why.
const owner = await newPage(browser);
await signIn(owner, OWNER_KEY);
await open(owner, 'limits');
await owner.getByLabel('Requests in flight at once').fill('500');
await owner.getByLabel('Why').fill('<b>launch</b> on Monday');
await owner.locator('form [data-action=submit]').click();
const asked = owner.locator('tr[data-ask]');
await asked.first().waitFor();
await staff.locator('[data-pending=asks]:visible').waitFor();
await open(staff, 'asks');
const ask = staff.locator(`tr[data-account="${ACCOUNT}"]`);
await ask.getByText('<b>launch</b> on Monday').waitFor();
await shoot(staff, 'asked-for-more');
await ask.locator('[data-action=approve]').click();
await staff.locator('dialog').getByLabel('Note').fill('good luck');
await staff.locator('dialog [data-action=submit]').click();
await ask.waitFor({ state: 'detached' });
await open(owner, 'home');
await open(owner, 'limits');
await asked.first().getByText('good luck').waitFor();
await owner.getByText('500').first().waitFor();
await shoot(owner, 'given-more');

// A key is found among many, without a mouse. The account's name is text wherever it stands.
await open(staff, 'keys');
await staff.getByText('The newest 100').waitFor();
await staff.locator('[data-action=more]').focus();
await staff.keyboard.press('Enter');
const total = staff.locator('[data-field=total]');
await total.getByText(/^1\d\d in all$/).waitFor();
await staff.keyboard.type('KEY 9');
await total.getByText('11 in all').waitFor();
await staff.keyboard.press('Control+A');
await staff.keyboard.type('OWN');
await total.getByText('1 in all', { exact: true }).waitFor();
await staff.locator('tr[data-key]').getByText('owner').first().waitFor();
const hostile = '<img src=x onerror=alert(1)>';
await staff.getByLabel('Account').fill('IMG src');
await staff.locator(`datalist option[value="${hostile}"]`).waitFor({ state: 'attached' });
await staff.getByLabel('Account').fill(hostile);
await staff.keyboard.press('Enter');
await total.getByText('0 in all', { exact: true }).waitFor();
await shoot(staff, 'a-key-that-was-searched');

// An engine is drained and restored.
await open(staff, 'engines');
const engine = staff.locator('tr[data-engine="e1"]');
await engine.locator('[data-action=drain]').click();
await engine.locator('[data-action=restore]').click();
await engine.locator('[data-action=drain]').waitFor();

// A chat in the playground, whose cost grows and is then the booked one.
await open(owner, 'playground');
await owner.getByLabel('Message', { exact: true }).fill('hello');
await owner.locator('[data-action=send]').click();
const receipt = owner.locator('[data-field=receipt] a');
await owner.locator('[data-field=cost]', { hasText: /^\$/ }).waitFor();
await booked(owner, (await receipt.getAttribute('href')).replace('#/', ''));
await receipt.click();
await owner.locator('article[data-receipt]').waitFor();
await shoot(owner, 'receipt-of-the-playground');
const holder = await tell('told');

// Where a request would go, as the admin API says it, without a mouse: by night and narrow too.
await explain(staff, PROMPT);
const chosen = staff.locator('.scores tr[data-chosen=true]');
const verdict = staff.locator('[data-field=verdict]');
const isChosen = async name => {
  await verdict.getByText(name, { exact: true }).waitFor();
  assert.equal(await chosen.getAttribute('data-engine'), name);
  assert.equal(await staff.locator('.scores tr[data-engine]').first().getAttribute('data-engine'), name);
};
await isChosen(holder);
assert.match(await verdict.textContent(), /as it holds [\d]+ tokens of the prompt/);
assert.equal(await staff.locator('.scores tr[data-engine]').count(), 2);
assert.ok((await number(chosen, 'cached')) > 0);
await shoot(staff, 'explained');
await inspect(staff, 'explained');
const narrow = await newPage(browser, { scheme: 'dark', width: 390 });
await signIn(narrow, ADMIN_TOKEN);
await explain(narrow, PROMPT);
await narrow.locator('.scores tr[data-chosen=true]').waitFor();
await shoot(narrow, 'explained-dark-390');
await inspect(narrow, 'explained-dark-390');
await narrow.context().close();

// What is wrong with a request is said beside it; a body is taken as it is, whichever model is chosen.
const text = staff.getByLabel('Prompt or request body');
const problem = staff.locator('form .problem');
for (const [wrong, said] of [
  ['{"model": "unknown", "messages": [{"role": "user", "content": "hi"}]}', /unknown/],
  ['{"model": "routed", ', /is none/],
]) {
  await put(staff, wrong);
  await problem.getByText(said).waitFor();
  assert.equal(await text.getAttribute('aria-invalid'), 'true');
  await chosen.waitFor({ state: 'hidden' });
}
await shoot(staff, 'explained-what-is-wrong');
await staff.getByLabel('Model').selectOption('m');
await put(staff, JSON.stringify({ model: 'routed', messages: [{ role: 'user', content: PROMPT }] }));
await isChosen(holder);
await problem.waitFor({ state: 'hidden' });

// An engine that takes nothing is last, and says why.
await open(staff, 'engines');
await staff.locator(`tr[data-engine="${holder}"] [data-action=drain]`).click();
await staff.locator(`tr[data-engine="${holder}"] [data-action=restore]`).waitFor();
await explain(staff, PROMPT);
await chosen.waitFor();
assert.notEqual(await chosen.getAttribute('data-engine'), holder);
const last = staff.locator('.scores tr[data-engine]').last();
assert.equal(await last.getAttribute('data-engine'), holder);
assert.match(await last.locator('[data-field=usable]').textContent(), /no.*drained/);
await shoot(staff, 'explained-without-the-drained');
await open(staff, 'engines');
await staff.locator(`tr[data-engine="${holder}"] [data-action=restore]`).click();
await staff.locator(`tr[data-engine="${holder}"] [data-action=drain]`).waitFor();
assert.equal(await tell('explained'), 'go on');

// Every page, to whoever sees it, by day and by night, wide and narrow.
for (const [kind, secret, pages] of [
  ['staff', ADMIN_TOKEN, STAFF],
  ['owner', OWNER_KEY, OWNER],
]) {
  for (const [scheme, width] of [
    ['light', 1280],
    ['dark', 390],
  ]) {
    const page = await newPage(browser, { scheme, width });
    await signIn(page, secret);
    for (const address of pages) {
      await open(page, address);
      const name = `${kind}-${address.replace(/\W+/g, '-')}-${scheme}-${width}`;
      await shoot(page, name);
      await inspect(page, name);
    }
    await page.context().close();
  }
}

// Signing out ends it, in every tab.
await staff.locator('#sign-out').click();
await staff.getByLabel('Admin token or API key').waitFor();

await browser.close();
// The browser notes the one request that was refused on purpose.
const isRefusal = fault => /#\/routing: .* status of 4\d\d/.test(fault);
assert.equal(faults.filter(isRefusal).length, 1);
assert.deepEqual(
  faults.filter(fault => !isRefusal(fault)),
  [],
);
console.log('done');
process.exit(0);
