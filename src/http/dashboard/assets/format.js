// Numbers, money and times as text. Money that is shown as exact is never computed with floats.

const whole = new Intl.NumberFormat('en-US');
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 3 });

/** 1,234,567 */
export const count = value => (value === null || value === undefined ? '–' : whole.format(value));

/** 1.23M, for axes and tiles. */
export const compact = value => (value === null || value === undefined ? '–' : short.format(value));

/** A measured number: three digits are enough. */
export function measured(value) {
  if (value === null || value === undefined) return '–';
  return Number(value) === 0 ? '0' : Number(value).toLocaleString('en-US', { maximumSignificantDigits: 3 });
}

/** The exact amount: $1,234.000000332 */
export function usd(money) {
  return money ? usdText(money.usd) : '–';
}

/** The same of a decimal text. */
export function usdText(text) {
  const isNegative = text.startsWith('-');
  const [units, rest] = text.replace('-', '').split('.');
  const grouped = whole.format(BigInt(units));
  return `${isNegative ? '−' : ''}$${grouped}${rest ? `.${rest}` : ''}`;
}

/** For heights and axes only: a number of USD that may be rounded. */
export const usdNumber = money => Number(money.picodollars) / 1e12;

/** A rounded amount, for axes and tiles. */
export function usdShort(number) {
  if (number === 0) return '$0';
  const digits = Math.abs(number) >= 1000 ? short.format(number) : Number(number.toPrecision(3)).toString();
  // Below a millionth, toString writes an exponent.
  return `$${digits.includes('e') ? number.toFixed(12).replace(/0+$/, '') : digits}`;
}

/** Sorts rows by what they cost. */
export function dearestFirst(one, other) {
  const difference = BigInt(other.cost.picodollars) - BigInt(one.cost.picodollars);
  return difference > 0n ? 1 : difference < 0n ? -1 : 0;
}

/** Adds amounts, exactly. */
export const sumPicodollars = amounts => amounts.reduce((sum, money) => sum + BigInt(money.picodollars), 0n);

/** An amount of whole picodollars as money is given by the API. */
export function moneyOf(picodollars) {
  const isNegative = picodollars < 0n;
  const digits = (isNegative ? -picodollars : picodollars).toString().padStart(13, '0');
  const rest = digits.slice(-12).replace(/0+$/, '');
  const text = `${isNegative ? '-' : ''}${digits.slice(0, -12)}${rest ? `.${rest}` : ''}`;
  return { picodollars: picodollars.toString(), usd: text };
}

/** 40 ms, 1.2 s, 3 min, 2 h, 5 d */
export function duration(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${(ms / 3_600_000).toFixed(1)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** 2026-11-28 21:04:05 in UTC, as everything that is billed. */
export function time(text) {
  return text ? new Date(text).toISOString().slice(0, 19).replace('T', ' ') : '–';
}

/** A moment on an axis over so many milliseconds. */
export function tick(ms, spanMs) {
  const text = new Date(ms).toISOString();
  return spanMs > 172_800_000 ? text.slice(5, 10) : text.slice(11, 16);
}

/** 12% */
export const percent = (part, all) => (all > 0 ? `${Math.round((100 * part) / all)}%` : '–');

/** requests_per_minute as a label. */
export const words = name => name.replaceAll('_', ' ');
