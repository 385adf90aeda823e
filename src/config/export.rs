//! `export`: who is told of every entry and adjustment, and in which form.

use super::catalog::one_of;
use super::fault::{Collector, quoted};
use super::names;
use super::reader::{Fields, Item};
use super::serving::{WAIT, section, set, set_duration};
use super::suggest::did_you_mean;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Events of one request.
const BATCH: RangeInclusive<u32> = 1..=1000;
/// Lago's batches hold no more (docs/EXPORT.md).
const LAGO_BATCH: u32 = 100;
const CUSTOMERS_AT_MOST: usize = 100_000;

/// The form in which a receiver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// CloudEvents 1.0 in batches of JSON, which is what OpenMeter takes.
    CloudEvents,
    /// Lago's batches of events.
    Lago,
    /// Stripe's meter events, one a request.
    Stripe,
}

impl ExportFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::CloudEvents, Self::Lago, Self::Stripe];

    /// Its name in models.yaml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Lago => "lago",
            Self::Stripe => "stripe",
        }
    }
}

/// Where entries and adjustments are delivered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSettings {
    /// The whole URL that is posted to.
    pub url: String,
    /// In which form.
    pub format: ExportFormat,
    /// The environment variable that holds the receiver's key, which is sent as a bearer token.
    pub api_key_env: Option<String>,
    /// How many events one request carries at most. A hundred.
    pub batch: u32,
    /// From the request to the end of its answer. Ten seconds.
    pub timeout: Duration,
    /// The `source` of CloudEvents: which farebox this is. A receiver tells events apart by source and id.
    pub source: String,
    /// What the receiver calls an account, by the account's id; an account that is not here is called by its id.
    pub customers: BTreeMap<String, String>,
}

/// Reads `export`; without it nothing is exported.
pub(super) fn read(document: &Fields<'_>, faults: &mut Collector) -> Option<ExportSettings> {
    const KEYS: [&str; 7] = [
        "url",
        "format",
        "api_key_env",
        "batch",
        "timeout",
        "source",
        "customers",
    ];
    let fields = section(document, "export", &KEYS, faults)?;
    let mut settings = ExportSettings {
        url: String::new(),
        format: ExportFormat::CloudEvents,
        api_key_env: fields
            .optional("api_key_env")
            .and_then(|variable| variable.checked(names::environment_variable, faults)),
        batch: 100,
        timeout: Duration::from_secs(10),
        source: "farebox".to_owned(),
        customers: BTreeMap::new(),
    };
    let url = fields
        .required(
            "url",
            "what is posted to, such as \"http://10.0.0.9:8888/api/v1/events\"",
            faults,
        )
        .and_then(|url| url.checked(names::receiver_url, faults));
    set(&mut settings.url, url);
    let format = fields
        .optional("format")
        .and_then(|format| format.checked(format_named, faults));
    set(&mut settings.format, format);
    let batch = fields.optional("batch");
    set(
        &mut settings.batch,
        batch.and_then(|item| item.integer_u32(BATCH, faults)),
    );
    if let Some(item) = batch.filter(|_| settings.format == ExportFormat::Lago && settings.batch > LAGO_BATCH)
    {
        item.refuse(format!("Lago takes at most {LAGO_BATCH} events at once"), faults);
    }
    set_duration(&fields, "timeout", WAIT, &mut settings.timeout, faults);
    let source = fields
        .optional("source")
        .and_then(|source| source.checked(names::event_source, faults));
    set(&mut settings.source, source);
    if let Some(item) = fields.optional("customers") {
        settings.customers = customers(item, faults);
    }
    if settings.format == ExportFormat::Stripe && settings.customers.is_empty() {
        fields.place.refuse(
            "Stripe knows customers by ids of its own: list them in `customers`, as { account: acct_..., customer: cus_... }",
            faults,
        );
    }
    Some(settings)
}

fn customers(item: &Item<'_>, faults: &mut Collector) -> BTreeMap<String, String> {
    let mut customers = BTreeMap::new();
    for item in item.list(CUSTOMERS_AT_MOST, faults).unwrap_or_default() {
        let Some(fields) = item.mapping(&["account", "customer"], faults) else {
            continue;
        };
        let account = fields
            .required("account", "an account's id, `acct_...`", faults)
            .and_then(|account| account.checked(names::of_a_customer, faults));
        let customer = fields
            .required("customer", "what the receiver calls it", faults)
            .and_then(|customer| customer.checked(names::of_a_customer, faults));
        let (Some(account), Some(customer)) = (account, customer) else {
            continue;
        };
        if customers.insert(account.clone(), customer).is_some() {
            item.refuse(format!("{} is here twice", quoted(&account)), faults);
        }
    }
    customers
}

fn format_named(text: &str) -> Result<ExportFormat, String> {
    let known = ExportFormat::ALL.map(ExportFormat::as_str);
    ExportFormat::ALL
        .into_iter()
        .find(|format| format.as_str() == text)
        .ok_or_else(|| {
            let guess = did_you_mean(text, known);
            format!("expected {}, found {}{guess}", one_of(known), quoted(text))
        })
}
