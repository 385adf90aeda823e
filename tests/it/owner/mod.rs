//! What an account's owner is shown, through the public router: receipts, costs, usage, entries, balance, statements.

mod receipts;
mod organization;
mod entries;
mod statement;
mod measure;

use crate::admin::harness::{Answer, Gateway, NOW_MS, id_at};
use farebox::http::owner;
use farebox::store::PriceSource;
use farebox_domain::ids::{AdjustmentId, KeyId, ModelId, RequestId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Endpoint, Entry, EntryState, Timings};
use farebox_domain::money::Picodollars;
use farebox_domain::price::{Price, PriceVersion, TokenPrice};
use farebox_domain::tokens::{Usage, UsageSource};
use farebox_domain::units::{ServiceTier, Units};

pub(crate) const LARGE: &str = "org/large";
pub(crate) const EMBEDDING: &str = "org/embedding";
pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// An account with a key, at a gateway.
pub(crate) struct Owner {
    pub(crate) gateway: Gateway,
    pub(crate) account: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Owner {
    /// Of an account with this name.
    pub(crate) async fn named(name: &str) -> Self {
        let gateway = Gateway::start().await;
        let account = gateway.account(name).await;
        let (key, secret) = gateway.key(&account).await;
        Self {
            gateway,
            account,
            key,
            secret,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.gateway.ask_as(&self.secret, "GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> Answer {
        self.gateway
            .ask_as(&self.secret, "POST", path, &body.to_string())
            .await
    }

    /// A completed request of 100 prompt tokens (40 of them cached) and 10 completion tokens, at the price that held.
    pub(crate) fn entry(&self, model: &str, at_ms: u64, number: u8) -> Entry {
        let registry = self.gateway.app.registry();
        let served = registry.find(model).unwrap();
        let version = served.prices.at(at_ms).clone();
        let (endpoint, usage) = match model {
            EMBEDDING => (Endpoint::Embeddings, Usage::new(7, 0, 0)),
            _ => (
                Endpoint::ChatCompletions,
                Usage::new(100, 40, 10).with_reasoning(4),
            ),
        };
        let mut entry = Entry {
            id: id_at(at_ms, number),
            client_request_id: None,
            account: self.account.as_str().into(),
            key: self.key.as_str().into(),
            model: model.into(),
            engine: Some("vllm-a".into()),
            endpoint,
            state: EntryState::Completed,
            usage,
            units: Units::default(),
            service_tier: ServiceTier::Default,
            usage_source: UsageSource::Engine,
            price_version: version.version,
            cost: Picodollars::ZERO,
            admitted_at_ms: at_ms,
            timings: Timings {
                queue_us: 20,
                ttft_us: Some(40_000),
                total_us: 900_000,
            },
        };
        entry.cost = entry.cost_at(&version.price).unwrap();
        entry
    }

    pub(crate) async fn book(&self, entries: &[Entry]) {
        self.gateway.app.ledger.commit(entries).await.unwrap();
    }

    /// Adds a price version; it does not hold for requests that the gateway serves by itself.
    pub(crate) async fn price(
        &self,
        model: &str,
        picodollars: [u64; 3],
        from_ms: Option<u64>,
    ) -> (PriceVersion, Price) {
        let [input, cached, output] = picodollars.map(TokenPrice::from_picodollars);
        let price = Price::of_tokens(input, Some(cached), output);
        let version = self
            .gateway
            .app
            .store
            .add_price(&ModelId::from(model), &price, from_ms, PriceSource::Admin, NOW_MS)
            .await
            .unwrap();
        (version, price)
    }

    /// An adjustment; `number` makes its id and its reference.
    pub(crate) fn adjustment(
        &self,
        kind: AdjustmentKind,
        picodollars: i128,
        at_ms: u64,
        number: u8,
    ) -> Adjustment {
        let mut id = *AdjustmentId::lowest_at_ms(at_ms).as_bytes();
        id[15] = number;
        Adjustment {
            id: AdjustmentId::from_bytes(id),
            account: self.account.as_str().into(),
            kind,
            amount: Picodollars::new(picodollars),
            request: None,
            price_version: None,
            reference: format!("ref-{number}"),
            note: String::new(),
            booked_at_ms: at_ms,
        }
    }

    pub(crate) async fn adjust(&self, adjustments: &[Adjustment]) {
        let booked = self.gateway.app.ledger.adjust(adjustments).await.unwrap();
        assert_eq!(booked.len(), adjustments.len());
    }
}

fn filled(path: &str) -> String {
    let id = RequestId::lowest_at_ms(1).to_string();
    path.replace("{request_id}", &id)
        .replace("{month}", "2026-11")
        .replace("{key}", "key_0")
}

#[tokio::test]
async fn every_route_wants_a_key_and_its_own_method() {
    let owner = Owner::named("Acme").await;
    let routes = owner::routes();
    assert!(routes.len() >= 8);
    for (method, path, _) in &routes {
        for base in ["/v1", "/v1/openai"] {
            let path = format!("{base}{}", filled(path));
            for method in method.split(", ") {
                let stranger = owner.gateway.ask_as("fb_nobody", method, &path, "").await;
                assert_eq!(stranger.code(), "invalid_api_key", "{method} {path}");
            }
            let wrong = owner.gateway.ask_as(&owner.secret, "PUT", &path, "").await;
            assert_eq!(wrong.code(), "method_not_allowed", "{path}");
            assert_eq!(wrong.headers["allow"], *method);
        }
    }
}

#[tokio::test]
async fn no_answer_names_an_engine_and_each_has_an_id() {
    let owner = Owner::named("Acme").await;
    owner.book(&[owner.entry(LARGE, NOW_MS - 1, 1)]).await;
    let id = id_at(NOW_MS - 1, 1);
    for path in [
        format!("/v1/receipts/{id}"),
        "/v1/me/entries".into(),
        "/v1/me/entries?format=csv".into(),
        "/v1/me/balance".into(),
        "/v1/me/statements/2026-11".into(),
        "/v1/me/statements/2026-11?format=csv".into(),
        "/v1/me/statements/2026-11?format=json".into(),
        "/v1/organization/usage/completions?start_time=1&limit=1".into(),
        "/v1/organization/costs?start_time=1793491200&group_by=line_item".into(),
    ] {
        let answer = owner.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(!answer.text.contains("vllm"), "{path}: {}", answer.text);
        assert!(
            answer.headers["x-request-id"]
                .to_str()
                .unwrap()
                .starts_with("req_")
        );
    }
}

#[tokio::test]
async fn a_balance_is_the_account_s_own_as_the_operator_sees_it() {
    let owner = Owner::named("Acme").await;
    let credit = r#"{"usd":"1.5","note":"","reference":"payment-1"}"#;
    let path = format!("/admin/v1/accounts/{}/credit", owner.account);
    owner.gateway.ask("POST", &path, credit).await;
    let shown = owner.get("/v1/me/balance").await;
    insta::assert_snapshot!(shown.shown(), @r#"
    200
    {
      "account": "acct_befba86ae9e0c207",
      "available": {
        "picodollars": "1500000000000",
        "usd": "1.5"
      },
      "balance": {
        "picodollars": "1500000000000",
        "usd": "1.5"
      },
      "held": {
        "picodollars": "0",
        "usd": "0"
      },
      "month": {
        "held": {
          "picodollars": "0",
          "usd": "0"
        },
        "limit": null,
        "month": "2026-11",
        "spent": {
          "picodollars": "0",
          "usd": "0"
        }
      },
      "postpaid": {
        "picodollars": "0",
        "usd": "0"
      }
    }
    "#);
    let theirs = owner
        .gateway
        .get(&format!("/admin/v1/accounts/{}/balance", owner.account))
        .await;
    assert_eq!(shown.json(), theirs.json());
}

/// The key's id as the ledger has it.
pub(crate) fn key(owner: &Owner) -> KeyId {
    owner.key.as_str().into()
}
