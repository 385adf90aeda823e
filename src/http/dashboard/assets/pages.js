// The pages there are, in the order of the navigation; the first is where one begins.

import { home } from './own_home.js';
import { ownKeys } from './own_keys.js';
import { ownLimits } from './own_limits.js';
import { playground } from './own_playground.js';
import { ownReceipts } from './own_receipts.js';
import { ownStatements } from './own_statements.js';
import { ownUsage } from './own_usage.js';
import { accounts } from './page_accounts.js';
import { asks } from './page_asks.js';
import { audit } from './page_audit.js';
import { engines } from './page_engines.js';
import { inFlight } from './page_in_flight.js';
import { keys } from './page_keys.js';
import { models } from './page_models.js';
import { overview } from './page_overview.js';
import { receipts } from './page_receipts.js';
import { refusals } from './page_refusals.js';
import { routing } from './page_routing.js';
import { settings } from './page_settings.js';
import { usage } from './page_usage.js';

export const STAFF_PAGES = [
  overview,
  accounts,
  asks,
  keys,
  models,
  engines,
  routing,
  usage,
  receipts,
  inFlight,
  refusals,
  audit,
  settings,
];

export const OWNER_PAGES = [home, ownUsage, ownKeys, ownLimits, ownReceipts, ownStatements, playground];
