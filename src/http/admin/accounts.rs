//! Accounts: making one, and seeing them with what they have in flight and what they owe.

use crate::admin_api::{AccountView, Money, NewAccount, Page, when};
use crate::admission::directory::Account;
use crate::app::OverReplicas;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::page::{PageOf, no_such_place};
use crate::http::admin::read::{Body, Params};
use crate::secrets::ACCOUNT_PREFIX;
use crate::store::{AccountRow, StoreFault};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use farebox_domain::ids::AccountId;
use farebox_domain::money::Picodollars;
use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

const NAME_LIMIT_CHARS: usize = 100;

/// `POST /admin/v1/accounts`
pub async fn create(
    State(admin): State<Admin>,
    who: Who,
    Body(new): Body<NewAccount>,
) -> Result<(StatusCode, Json<AccountView>), AdminError> {
    check_name(&new.name)?;
    if new.name.starts_with(ACCOUNT_PREFIX) {
        return Err(AdminError::invalid(
            "name",
            "a name that begins with `acct_` would be taken for an id",
        ));
    }
    let app = Arc::clone(&admin.app);
    let account = admin
        .change(&who, "account.create", async move {
            let row = AccountRow::new(app.secrets.account_id(), new.name, app.clock.unix_ms());
            app.store
                .create_account(&row)
                .await
                .map_err(|fault| match fault {
                    StoreFault::NameTaken => AdminError::NameTaken(row.name.clone()),
                    other => AdminError::internal(other),
                })?;
            let account = app.directory.add_account(row);
            let after = audited(&account);
            Changed::of(account.id.to_string(), account).after(&after)
        })
        .await?;
    let created = view(&admin, &account, &Known::default());
    Ok((StatusCode::CREATED, Json(created)))
}

/// The parameters of [`list`].
pub const LIST_PARAMS: &[&str] = &["search", "limit", "after"];

/// `GET /admin/v1/accounts?search=&limit=&after=`: those that a search finds by name or id.
pub async fn list(State(admin): State<Admin>, params: Params) -> Result<Json<Page<AccountView>>, AdminError> {
    let params = params.only(LIST_PARAMS)?;
    let asked = PageOf::read(&params)?;
    let directory = &admin.app.directory;
    let listed = |id| directory.account(&AccountId::from(id));
    let after = match asked.after {
        Some(id) => Some(listed(id).ok_or_else(no_such_place)?.age()),
        None => None,
    };
    let (accounts, has_more) = asked
        .of(
            after,
            |after, most| ready(Ok(directory.newest_accounts(after.as_ref(), most))),
            |account| account.age(),
            |account| asked.finds(&[&account.name, account.id.as_str()]),
        )
        .await?;
    let known = Known::of(&admin, &accounts).await?;
    let data = accounts.iter().map(|account| view(&admin, account, &known));
    let data = data.collect();
    Ok(Json(Page::new(data, has_more, |last: &AccountView| {
        last.id.to_string()
    })))
}

/// `GET /admin/v1/accounts/{account}`, by id or name
pub async fn show(
    State(admin): State<Admin>,
    Path(account): Path<String>,
) -> Result<Json<AccountView>, AdminError> {
    let account = find(&admin, &account, None)?;
    let known = Known::of(&admin, std::slice::from_ref(&account)).await?;
    Ok(Json(view(&admin, &account, &known)))
}

/// `POST /admin/v1/accounts/{account}/close`. Its keys end at once; what it has in flight goes on and is billed, and its
/// entries stay. Again is no fault.
pub async fn close(
    State(admin): State<Admin>,
    who: Who,
    Path(account): Path<String>,
) -> Result<Json<AccountView>, AdminError> {
    let account = find(&admin, &account, None)?;
    let (app, closed) = (Arc::clone(&admin.app), Arc::clone(&account));
    admin
        .change(&who, "account.close", async move {
            if closed.is_closed() {
                return Ok(Changed::nothing(()));
            }
            let before = audited(&closed);
            let stored = app.store.close_account(&closed.id, app.clock.unix_ms());
            stored.await.map_err(AdminError::internal)?;
            closed.close();
            let after = audited(&closed);
            Changed::of(closed.id.as_str(), ()).before(&before)?.after(&after)
        })
        .await?;
    let known = Known::of(&admin, std::slice::from_ref(&account)).await?;
    Ok(Json(view(&admin, &account, &known)))
}

/// The account with this id or name. `param` is where the name came from, if not from the path.
pub fn find(
    admin: &Admin,
    id_or_name: &str,
    param: Option<&'static str>,
) -> Result<Arc<Account>, AdminError> {
    admin
        .app
        .directory
        .account_named(id_or_name)
        .ok_or_else(|| AdminError::NotFound {
            what: Noun::Account,
            name: id_or_name.into(),
            param,
            hint: "; `farebox account list` lists them",
        })
}

/// What the audit log has of an account.
fn audited(account: &Account) -> serde_json::Value {
    serde_json::json!({ "name": account.name, "closed": account.is_closed() })
}

/// A name is shown in tables, logs and bills, and has to be told from another by eye.
pub fn check_name(name: &str) -> Result<(), AdminError> {
    let length = name.chars().count();
    if !(1..=NAME_LIMIT_CHARS).contains(&length) {
        let message = format!("a name has 1 to {NAME_LIMIT_CHARS} characters, and this has {length}");
        return Err(AdminError::invalid("name", message));
    }
    // What the standard library would escape is not printable, but for these three.
    let quotes = ['"', '\'', '\\'];
    let bare: String = name
        .chars()
        .filter(|character| !quotes.contains(character))
        .collect();
    let is_printable = bare.escape_debug().eq(bare.chars());
    if !is_printable || name.trim() != name {
        let message = "a name has printable characters only, and no spaces at its ends";
        return Err(AdminError::invalid("name", message));
    }
    if !name.chars().any(char::is_alphanumeric) {
        return Err(AdminError::invalid(
            "name",
            "a name has at least one letter or digit",
        ));
    }
    Ok(())
}

/// What is known of some accounts besides what they are: what they owe, and what they have in flight.
#[derive(Default)]
struct Known {
    owed: BTreeMap<AccountId, Picodollars>,
    counted: OverReplicas,
}

impl Known {
    async fn of(admin: &Admin, accounts: &[Arc<Account>]) -> Result<Self, AdminError> {
        let ids: Vec<_> = accounts.iter().map(|account| account.id.clone()).collect();
        let balances = admin.app.ledger.balances_of(&ids).await;
        let owed = balances
            .map_err(AdminError::internal)?
            .into_iter()
            .map(|balance| {
                let owed = balance.spent.checked_sub(balance.adjusted);
                Ok((balance.account, owed.map_err(AdminError::internal)?))
            });
        Ok(Self {
            owed: owed.collect::<Result<_, AdminError>>()?,
            counted: admin.app.over_replicas(accounts).await,
        })
    }
}

fn view(admin: &Admin, account: &Account, known: &Known) -> AccountView {
    let reading = known.counted.read(account, admin.default_limit());
    AccountView {
        id: account.id.clone(),
        name: account.name.clone(),
        created_at: when::show(account.created_at_ms),
        in_flight: reading.in_flight,
        concurrent_requests: reading.limit,
        is_default: !reading.limit_is_own,
        closed: account.is_closed(),
        owed: Money(known.owed.get(&account.id).copied().unwrap_or(Picodollars::ZERO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printable_and_short() {
        let longest = "x".repeat(100);
        for name in [
            "Acme",
            "Zoë & \"Söhne\" \\ 1",
            "हिन्दी",
            "a/b?c#d",
            "日本",
            &longest,
        ] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let too_long = "x".repeat(101);
        for name in [
            "",
            " a",
            "a ",
            "a\nb",
            "a\u{0}",
            "a\u{202e}b",
            "a\u{200b}b",
            "..",
            "-",
            &too_long,
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
