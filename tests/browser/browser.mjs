// A browser that tells of everything a page must not do: errors on the console, requests to another host, dialogs.

import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const { DASHBOARD, SHOTS } = process.env;

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

export const faults = [];

/** Requests that are not answered, of each page: but for the live events, which go on for ever. */
const unanswered = new WeakMap();

export async function start() {
  fs.mkdirSync(SHOTS, { recursive: true });
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
}

/** A page of its own, watched. */
export async function newPage(browser, { width = 1280, scheme = 'light' } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: scheme,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) faults.push(`console: ${page.url()}: ${message.text()}`);
  });
  page.on('pageerror', error => faults.push(`error: ${page.url()}: ${error.message}`));
  page.on('dialog', dialog => {
    faults.push(`dialog: ${page.url()}: ${dialog.message()}`);
    dialog.dismiss();
  });
  unanswered.set(page, new Set());
  const answered = request => unanswered.get(page).delete(request);
  page.on('requestfinished', answered);
  page.on('requestfailed', answered);
  page.on('request', request => {
    if (request.resourceType() !== 'eventsource') unanswered.get(page).add(request);
    const { origin } = new URL(request.url());
    if (origin !== new URL(DASHBOARD).origin) faults.push(`another host: ${request.url()}`);
  });
  return page;
}

/** Signs in by the page that a stranger gets. */
export async function signIn(page, secret) {
  await page.goto(DASHBOARD);
  await page.getByLabel('Admin token or API key').fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('main[data-page]').waitFor();
}

/** Goes to a page of the dashboard and waits until it has what it shows. */
export async function open(page, address) {
  await page.goto(`${DASHBOARD}#/${address}`);
  await page.locator(`main[data-page="${address.split(/[/?]/)[0]}"]`).waitFor();
  await page.waitForLoadState('load');
  // Twice, a frame apart: what an answer makes a page ask next is asked by then.
  for (let quiet = 0; quiet < 2; quiet = unanswered.get(page).size ? 0 : quiet + 1) {
    await page.evaluate(() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  }
}

export async function shoot(page, name) {
  await page.screenshot({ path: path.join(SHOTS, `${name}.png`), fullPage: true });
}

/** What makes a page hard to use for somebody who does not see it, or is wider than the window. */
export async function inspect(page, name) {
  const session = await page.context().newCDPSession(page);
  // Past the page's policy, which lets no foreign script in.
  await session.send('Runtime.evaluate', { expression: AXE });
  const found = await page.evaluate(() => globalThis.axe.run({ resultTypes: ['violations'] }));
  for (const { id, impact, nodes } of found.violations) {
    if (['serious', 'critical'].includes(impact)) faults.push(`axe: ${name}: ${id}: ${nodes[0].html.slice(0, 200)}`);
  }
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (over > 0) faults.push(`wide: ${name}: ${over} px more than the window`);
  const problems = await page.locator('.problem:visible').allTextContents();
  problems.forEach(problem => faults.push(`problem: ${name}: ${problem}`));
}
