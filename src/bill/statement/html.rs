//! A statement as a page: one file that loads nothing, for the eye, the printer and a phone. Whatever somebody wrote is
//! escaped; each amount carries its whole picodollars in a `data` element, so that a program can add them up.

use crate::admin_api::Money;
use crate::admin_api::bill::{ItemView, NamedPriceView, Standing, StatementLineView, StatementView};
use crate::admin_api::money::AdjustmentView;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
const FEWEST_DECIMALS: usize = 2;

/// All of it.
pub fn html(statement: &StatementView) -> String {
    let amounts = Amounts::of(statement);
    let title = format!(
        "Statement {} - {}",
        escaped(&statement.month),
        escaped(&statement.account_name)
    );
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    page += &head(statement);
    page += &summary(statement, &amounts);
    page += &usage(statement, &amounts);
    page += &adjustments(statement, &amounts);
    page += &prices(&statement.prices);
    page += &foot(statement);
    page += "</body>\n</html>\n";
    page
}

fn head(statement: &StatementView) -> String {
    let (class, words) = match statement.standing {
        Standing::Open => (
            "open",
            format!("Open: until {}, not the whole month", statement.until),
        ),
        Standing::Settling => (
            "settling",
            "Not final: requests of its last hour may still be running".into(),
        ),
        Standing::Final => ("final", "Final".into()),
    };
    format!(
        "<header>\n<div>\n<p class=\"soft\">Statement for {}</p>\n<h1>{}</h1>\n<p class=\"soft\"><code>{}</code></p>\n</div>\n\
         <div>\n<p>{} until {} (UTC)</p>\n<p><span class=\"standing {class}\">{}</span></p>\n</div>\n</header>\n",
        escaped(&statement.month),
        escaped(&statement.account_name),
        escaped(statement.account.as_str()),
        escaped(&statement.since),
        escaped(&statement.until),
        escaped(&words),
    )
}

fn summary(statement: &StatementView, amounts: &Amounts) -> String {
    let row = |name: &str, class: &str, amount: Money| {
        format!(
            "<tr><th scope=\"row\">{name}</th><td class=\"number\">{}</td></tr>\n",
            amounts.show(class, amount)
        )
    };
    let last = if statement.is_open() {
        "Balance so far"
    } else {
        "Closing balance"
    };
    format!(
        "<table class=\"summary\">\n<thead><tr><th scope=\"col\">In USD</th><th scope=\"col\"></th></tr></thead>\n<tbody>\n{}{}{}{}</tbody>\n</table>\n",
        row("Opening balance", "opening", statement.opening_balance),
        row("Less usage", "usage", statement.usage_total),
        row(
            "Credit, refunds and corrections",
            "adjustments",
            statement.adjustments_total
        ),
        row(last, "closing", statement.closing_balance),
    )
}

fn usage(statement: &StatementView, amounts: &Amounts) -> String {
    let title = "<h2>Usage</h2>\n";
    if statement.lines.is_empty() {
        return format!("{title}<p class=\"soft\">Nothing was used.</p>\n");
    }
    let lines: String = statement.lines.iter().map(|of| line(of, amounts)).collect();
    format!(
        "{title}<table class=\"rows\">\n<thead><tr><th scope=\"col\">What</th><th scope=\"col\" class=\"number\">Quantity</th>\
         <th scope=\"col\" class=\"number\">USD a million</th><th scope=\"col\" class=\"number\">USD</th></tr></thead>\n{lines}\
         <tfoot><tr class=\"total\"><th scope=\"row\" colspan=\"3\">{} in all</th><td class=\"number\">{}</td></tr></tfoot>\n\
         </table>\n",
        counted(statement.requests, "request"),
        amounts.show("usage-total", statement.usage_total),
    )
}

fn line(line: &StatementLineView, amounts: &Amounts) -> String {
    let since = match &line.price_holds_since {
        Some(since) => format!(", since {}", escaped(since)),
        None => String::new(),
    };
    let items: String = line.items.iter().map(|of| item(of, amounts)).collect();
    let as_booked = if line.itemized {
        ""
    } else {
        " - the amount is the sum of what each request was booked at: tokens alone do not make it"
    };
    format!(
        "<tbody class=\"group\">\n<tr class=\"line\"><th scope=\"rowgroup\" colspan=\"3\">{}<span class=\"soft\">{} - {} - price \
         version {}{since}{as_booked}</span></th><td class=\"number\">{}</td></tr>\n{items}</tbody>\n",
        escaped(line.model.as_str()),
        escaped(&words(&line.endpoint)),
        counted(line.requests, "request"),
        line.price_version,
        amounts.show("line", line.amount),
    )
}

fn item(item: &ItemView, amounts: &Amounts) -> String {
    let quantity = item.quantity.map(|count| grouped(&count.to_string()));
    let price = item
        .unit_price
        .as_ref()
        .map(|price| escaped(&price.usd_per_million));
    let amount = item.amount.map(|amount| amounts.show("item", amount));
    format!(
        "<tr class=\"item\"><td>{}</td><td class=\"number quantity\">{}</td><td class=\"number price\">{}</td>\
         <td class=\"number\">{}</td></tr>\n",
        escaped(&words(&item.item)),
        quantity.unwrap_or_default(),
        price.unwrap_or_default(),
        amount.unwrap_or_default(),
    )
}

fn adjustments(statement: &StatementView, amounts: &Amounts) -> String {
    if statement.adjustments.is_empty() {
        return String::new();
    }
    let rows: String = statement
        .adjustments
        .iter()
        .map(|of| adjustment(of, amounts))
        .collect();
    format!(
        "<h2>Credit, refunds and corrections</h2>\n<table class=\"rows cells\">\n<thead><tr><th scope=\"col\">What</th>\
         <th scope=\"col\" class=\"number\">USD</th></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         <tfoot><tr class=\"total\"><th scope=\"row\">Together</th><td class=\"number\">{}</td></tr></tfoot>\n</table>\n",
        amounts.show("adjustments-total", statement.adjustments_total),
    )
}

fn adjustment(of: &AdjustmentView, amounts: &Amounts) -> String {
    let mut about = format!("{} - {}", escaped(&of.booked_at), of.id);
    if let Some(request) = of.request {
        let _ = write!(about, " - for {request}");
    }
    if let Some(version) = of.price_version {
        let _ = write!(about, " - to price version {version}");
    }
    let note = if of.note.is_empty() {
        String::new()
    } else {
        format!(": {}", escaped(&of.note))
    };
    format!(
        "<tr><th scope=\"row\" class=\"note\">{}{note}<br><span class=\"soft\">{about} - reference {}</span></th>\
         <td class=\"number\">{}</td></tr>\n",
        escaped(&capitalised(&words(&of.kind))),
        escaped(&of.reference),
        amounts.show("adjustment", of.amount),
    )
}

fn prices(prices: &[NamedPriceView]) -> String {
    if prices.is_empty() {
        return String::new();
    }
    let rows: String = prices.iter().map(price).collect();
    format!(
        "<h2>Prices, in USD per million tokens</h2>\n<table class=\"rows cells prices\">\n<thead><tr><th scope=\"col\">Version</th>\
         <th scope=\"col\" class=\"number\">Prompt</th><th scope=\"col\" class=\"number\">Cached prompt</th>\
         <th scope=\"col\" class=\"number\">Completion</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
    )
}

fn price(version: &NamedPriceView) -> String {
    let since = match (&version.holds_since, &version.price) {
        (Some(since), _) => format!("since {}", escaped(since)),
        (None, Some(_)) => "made to correct past requests by".into(),
        (None, None) => "not known".into(),
    };
    let cell = |label: &str, price: Option<&String>| {
        let shown = price.map_or_else(|| "unknown".into(), |price| escaped(price));
        format!("<td class=\"number\" data-label=\"{label}\">{shown}</td>")
    };
    let price = version.price.as_ref();
    let cached = price.map(|price| price.cached_input.as_ref().unwrap_or(&price.input));
    format!(
        "<tr><th scope=\"row\" class=\"note\">{} - {}<br><span class=\"soft\">{since}</span></th>{}{}{}</tr>\n",
        version.version,
        escaped(version.model.as_str()),
        cell("Prompt", price.map(|price| &price.input)),
        cell("Cached prompt", cached),
        cell("Completion", price.map(|price| &price.output)),
    )
}

fn foot(statement: &StatementView) -> String {
    format!(
        "<footer class=\"soft\">\n<p>Times are in UTC. A request belongs to the month in which it was admitted; a credit, refund or \
         correction to the one in which it was booked. Amounts are exact, to the picodollar (a millionth of a millionth of a \
         dollar): nothing is rounded.</p>\n<p>Made at {}.</p>\n</footer>\n",
        escaped(&statement.made_at)
    )
}

/// How amounts are written: all with as many decimals as the finest of them has, so that they stand at their point.
struct Amounts {
    decimals: usize,
}

impl Amounts {
    fn of(statement: &StatementView) -> Self {
        let sums = [
            statement.opening_balance,
            statement.usage_total,
            statement.adjustments_total,
            statement.closing_balance,
        ];
        let lines = statement.lines.iter().flat_map(|line| {
            let items = line.items.iter().filter_map(|item| item.amount);
            items.chain([line.amount])
        });
        let adjustments = statement.adjustments.iter().map(|of| of.amount);
        let decimals = |amount: Money| {
            let text = amount.0.to_string();
            text.split_once('.').map_or(0, |(_, decimals)| decimals.len())
        };
        let finest = sums
            .into_iter()
            .chain(lines)
            .chain(adjustments)
            .map(decimals)
            .max();
        Self {
            decimals: finest.unwrap_or(0).max(FEWEST_DECIMALS),
        }
    }

    fn show(&self, class: &str, amount: Money) -> String {
        let text = amount.0.to_string();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        format!(
            "<data class=\"{class}\" value=\"{}\">{}.{decimals:0<width$}</data>",
            amount.0.get(),
            grouped(whole),
            width = self.decimals
        )
    }
}

/// `1234567` as `1,234,567`; a sign stays in front.
fn grouped(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let mut grouped = String::from(sign);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(&count.to_string()))
}

/// `chat_completions` as `chat completions`.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Text that is text wherever it stands: between tags and in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text() {
        assert_eq!(
            escaped("<b onclick='x' title=\"&\">"),
            "&lt;b onclick=&#39;x&#39; title=&quot;&amp;&quot;&gt;"
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        for (digits, shown) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("-1234567", "-1,234,567"),
        ] {
            assert_eq!(grouped(digits), shown);
        }
    }
}
