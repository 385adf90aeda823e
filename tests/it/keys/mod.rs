//! What a key may do: scopes, models, addresses; how it is changed, given a new secret, and made by its account's owner.

mod rights;
mod rotation;
mod owner;
mod sockets;
mod tokens;
mod spending;
mod measure;

use crate::admin::harness::{Answer, Gateway};
use serde_json::{Value, json};

pub(crate) const CHAT: &str = r#"{"model":"org/large","messages":[{"role":"user","content":"hi"}]}"#;

/// A gateway with an account.
pub(crate) struct Keys {
    pub(crate) gateway: Gateway,
    pub(crate) account: String,
}

/// A key that was made.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Keys {
    pub(crate) async fn start() -> Self {
        let gateway = Gateway::start().await;
        let account = gateway.account("Acme").await;
        Self { gateway, account }
    }

    /// Makes a key of which this is said besides.
    pub(crate) async fn key(&self, said: Value) -> Key {
        let mut body = json!({ "account": self.account, "name": "laptop" });
        let fields = said.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        let made = self
            .gateway
            .ask("POST", "/admin/v1/keys", &body.to_string())
            .await;
        assert_eq!(made.status, 201, "{}", made.text);
        Key {
            id: made.field("id"),
            secret: made.field("secret"),
        }
    }

    /// Changes a key as an administrator.
    pub(crate) async fn change(&self, key: &Key, change: Value) -> Answer {
        let path = format!("/admin/v1/keys/{}", key.id);
        self.gateway.ask("PATCH", &path, &change.to_string()).await
    }

    pub(crate) async fn get(&self, secret: &str, path: &str) -> Answer {
        self.gateway.ask_as(secret, "GET", path, "").await
    }

    pub(crate) async fn post(&self, secret: &str, path: &str, body: Value) -> Answer {
        self.gateway.ask_as(secret, "POST", path, &body.to_string()).await
    }

    /// The code that a chat is refused with. The engine of this gateway is never there, so that of a key that may is
    /// `no_engine_available`.
    pub(crate) async fn chat(&self, secret: &str) -> String {
        self.gateway
            .ask_as(secret, "POST", "/v1/chat/completions", CHAT)
            .await
            .code()
    }
}

pub(crate) const LET_IN: &str = "no_engine_available";
