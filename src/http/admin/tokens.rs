//! Admin tokens: who administers, with which role, and who asks.

use crate::admin_api::{CreatedToken, KeyStatus, List, NewToken, StaffView, TokenView, when};
use crate::admission::directory::hash_secret;
use crate::admission::staff::AdminToken;
use crate::app::App;
use crate::http::admin::accounts;
use crate::http::admin::auth::{ROOT, Staff, Who};
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::key_making::read_expiry;
use crate::http::admin::keys::NO_STORE;
use crate::http::admin::read::{Body, Params};
use crate::store::AdminTokenRow;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use std::sync::Arc;

/// `GET /admin/v1/me`
pub async fn me(staff: Staff, params: Params) -> Result<Json<StaffView>, AdminError> {
    params.only(&[])?;
    Ok(Json(StaffView {
        id: staff.id,
        name: staff.name.as_ref().into(),
        role: staff.role,
    }))
}

/// `POST /admin/v1/tokens`
pub async fn create(
    State(admin): State<Admin>,
    who: Who,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<CreatedToken>), AdminError> {
    accounts::check_name(&new.name)?;
    if new.name == ROOT {
        let message = "`root` is the name of the token that is given at start; give another";
        return Err(AdminError::invalid("name", message));
    }
    let app = Arc::clone(&admin.app);
    let now_ms = app.clock.unix_ms();
    let expires_at_ms = read_expiry(new.expires_in_seconds, new.expires_at.as_deref(), "token", now_ms)?;
    let secret = app.secrets.admin_token();
    let row = AdminTokenRow {
        id: app.secrets.admin_token_id(),
        name: new.name,
        role: new.role,
        hash: hash_secret(&secret),
        created_at_ms: now_ms,
        expires_at_ms,
        revoked_at_ms: None,
    };
    let token = admin
        .change(&who, "token.create", async move {
            let stored = app.store.create_admin_token(&row).await;
            stored.map_err(AdminError::internal)?;
            let token = app.admin_tokens.add(row);
            let after = view(&token, now_ms);
            Changed::of(token.id.clone(), token).after(&after)
        })
        .await?;
    let token = view(&token, now_ms);
    Ok((
        StatusCode::CREATED,
        NO_STORE,
        Json(CreatedToken { token, secret }),
    ))
}

/// `GET /admin/v1/tokens`. The one that is given at start is not among them.
pub async fn list(State(admin): State<Admin>, params: Params) -> Result<Json<List<TokenView>>, AdminError> {
    params.only(&[])?;
    let now_ms = admin.app.clock.unix_ms();
    let tokens = admin.app.admin_tokens.all();
    let data = tokens.iter().map(|token| view(token, now_ms)).collect();
    Ok(Json(List { data }))
}

/// `POST /admin/v1/tokens/{token}/revoke`, `DELETE /admin/v1/tokens/{token}`. Again is no fault.
pub async fn revoke(
    State(admin): State<Admin>,
    who: Who,
    Path(id): Path<String>,
) -> Result<Json<TokenView>, AdminError> {
    let app = Arc::clone(&admin.app);
    let token = admin
        .change(&who, "token.revoke", async move {
            let token = find(&app, &id)?;
            if token.revoked_at_ms().is_some() {
                return Ok(Changed::nothing(token));
            }
            let now_ms = app.clock.unix_ms();
            let before = view(&token, now_ms);
            let stored = app.store.revoke_admin_token(&id, now_ms).await;
            stored.map_err(AdminError::internal)?;
            app.admin_tokens.revoke(&id, now_ms);
            let after = view(&token, now_ms);
            Changed::of(id, token).before(&before)?.after(&after)
        })
        .await?;
    Ok(Json(view(&token, admin.app.clock.unix_ms())))
}

fn find(app: &App, id: &str) -> Result<Arc<AdminToken>, AdminError> {
    app.admin_tokens.get(id).ok_or_else(|| AdminError::NotFound {
        what: Noun::Token,
        // A secret given by mistake is not said back.
        name: if id.starts_with(crate::secrets::ADMIN_TOKEN_PREFIX) {
            "fba_...".into()
        } else {
            id.into()
        },
        param: None,
        hint: "; give its id (`tok_...`), which `farebox admin-token list` shows",
    })
}

fn view(token: &AdminToken, now_ms: u64) -> TokenView {
    TokenView {
        id: token.id.clone(),
        name: token.name.as_ref().into(),
        role: token.role,
        status: KeyStatus::of(token.revoked_at_ms(), token.expires_at_ms, now_ms),
        created_at: when::show(token.created_at_ms),
        expires_at: token.expires_at_ms.map(when::show),
        revoked_at: token.revoked_at_ms().map(when::show),
    }
}
