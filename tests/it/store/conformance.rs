//! What the store does, whatever its database: `conformance!` runs all of it on a [`Bench`].

use farebox::store::{
    AccountRow, AdminTokenRow, AuditPage, Decision, KeyRow, LimitRequestRow, LimitRow, NewAudit,
    PreviousSecret, PriceSource, ProcessRow, RateRow, RequestState, SeriesRow, SessionRow, Store, StoreFault,
};
use farebox_domain::ids::{AccountId, ModelId};
use farebox_domain::key::{KeyRights, ModelGlob, Scopes, parse_net};
use farebox_domain::money::Picodollars;
use farebox_domain::price::{Price, TokenPrice};
use farebox_domain::role::Role;
use std::path::Path;

/// A store of one kind, empty.
pub(crate) trait Bench: Sized {
    async fn open() -> Self;
    fn store(&self) -> &Store;
    /// Another store of the same database, in this data directory.
    async fn open_in(&self, data_dir: &Path) -> Result<Store, StoreFault>;
}

macro_rules! conformance {
    ($bench:ty) => {
        $crate::store::conformance::conformance! { $bench:
            accounts_have_names_of_their_own,
            a_key_is_revoked_once,
            a_key_is_changed_of_what_is_stored,
            limits_are_set_changed_and_taken_away,
            rates_are_set_changed_and_taken_away,
            sessions_last_until_they_are_over_or_ended,
            what_was_counted_is_replaced_by_its_process_and_forgotten_in_time,
            ceilings_are_set_changed_and_taken_away,
            an_account_is_closed_once,
            an_admin_token_is_revoked_once,
            the_audit_log_is_read_by_the_page,
            a_limit_request_is_open_once_and_decided_once,
            engines_are_drained_and_restored,
            settings_read_back,
            a_setting_is_set_once_by_whoever_comes_first,
            a_price_has_a_version_until_it_changes,
            a_directory_belongs_to_one_farebox,
            a_directory_that_cannot_be_made_is_named,
            the_directory_is_private,
        }
    };
    ($bench:ty: $($promise:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $promise() {
            $crate::store::conformance::$promise(
                <$bench as $crate::store::conformance::Bench>::open().await,
            )
            .await;
        })*
    };
}
pub(crate) use conformance;

pub(crate) fn account(number: u64) -> AccountRow {
    AccountRow::new(
        format!("acct_{number:016x}").into(),
        format!("account {number}"),
        1_000 + number,
    )
}

pub(crate) fn key(number: u8, account: &AccountId) -> KeyRow {
    let id = format!("key_{number:016x}").into();
    let created_at_ms = 2_000 + u64::from(number);
    KeyRow {
        expires_at_ms: (number == 1).then_some(9_000),
        monthly_limit: (number == 1).then_some(Picodollars::new(i64::MAX.into())),
        ..KeyRow::new(
            id,
            account.clone(),
            "laptop".to_owned(),
            [number; 32],
            created_at_ms,
        )
    }
}

pub(crate) async fn accounts_have_names_of_their_own(bench: impl Bench) {
    let store = bench.store();
    let (first, second) = (account(1), account(2));
    store.create_account(&second).await.unwrap();
    store.create_account(&first).await.unwrap();
    let same_name = AccountRow {
        name: first.name.clone(),
        ..account(3)
    };
    let refused = store.create_account(&same_name).await.unwrap_err();
    assert!(matches!(refused, StoreFault::NameTaken), "{refused}");
    let same_id = AccountRow {
        name: "another".to_owned(),
        ..account(1)
    };
    let refused = store.create_account(&same_id).await.unwrap_err();
    assert!(matches!(refused, StoreFault::Database(_)), "{refused}");
    assert_eq!(store.accounts().await.unwrap(), [first, second]);
}

pub(crate) async fn a_key_is_revoked_once(bench: impl Bench) {
    let store = bench.store();
    let owner = account(1);
    store.create_account(&owner).await.unwrap();
    let (mut first, second) = (key(1, &owner.id), key(2, &owner.id));
    store.create_key(&first).await.unwrap();
    store.create_key(&second).await.unwrap();
    let orphan = key(3, &"acct_x".into());
    let refused = store.create_key(&orphan).await.unwrap_err();
    assert!(matches!(refused, StoreFault::NoSuchAccount), "{refused}");

    assert!(store.revoke_key(&first.id, 5_000).await.unwrap());
    assert!(!store.revoke_key(&first.id, 6_000).await.unwrap());
    assert!(!store.revoke_key(&orphan.id, 6_000).await.unwrap());
    first.revoked_at_ms = Some(5_000);
    assert_eq!(store.keys().await.unwrap(), [first, second]);
}

pub(crate) async fn a_key_is_changed_of_what_is_stored(bench: impl Bench) {
    let store = bench.store();
    let owner = account(1);
    store.create_account(&owner).await.unwrap();
    let mut expected = key(1, &owner.id);
    store.create_key(&expected).await.unwrap();
    store.revoke_key(&expected.id, 5_000).await.unwrap();
    expected.revoked_at_ms = Some(5_000);
    expected.name = "desktop".into();
    expected.hash = [9; 32];
    expected.expires_at_ms = None;
    expected.rights = KeyRights {
        scopes: Scopes::parse("inference,dashboard").unwrap(),
        allowed_models: vec![ModelGlob::try_from("org/*".to_owned()).unwrap()],
        allowed_ips: vec![parse_net("10.0.0.0/8").unwrap(), parse_net("::1").unwrap()],
        concurrent_requests: Some(0),
    };
    expected.jwt_verifier = Some([4; 64]);
    expected.previous = Some(PreviousSecret {
        hash: [1; 32],
        until_ms: 9_000,
        jwt_verifier: Some([5; 64]),
    });
    let changed = store
        .change_key(&expected.id, |row| {
            assert_eq!(row.revoked_at_ms, Some(5_000), "it is as it is stored now");
            *row = expected.clone();
            Ok::<_, ()>(())
        })
        .await
        .unwrap();
    assert_eq!(changed, Some(Ok(expected.clone())));
    assert_eq!(store.keys().await.unwrap(), [expected.clone()]);
    let refused = store
        .change_key(&expected.id, |row| {
            row.name = "another".into();
            Err("no")
        })
        .await
        .unwrap();
    assert_eq!(refused, Some(Err("no")));
    assert_eq!(store.keys().await.unwrap(), [expected.clone()]);
    let nobody = store
        .change_key(&"key_x".into(), |_| Ok::<_, ()>(()))
        .await
        .unwrap();
    assert_eq!(nobody, None);

    let again = store
        .change_key(&expected.id, |row| {
            row.rights = KeyRights::default();
            row.previous = None;
            row.jwt_verifier = None;
            Ok::<_, ()>(())
        })
        .await
        .unwrap();
    assert_eq!(store.keys().await.unwrap(), [again.unwrap().unwrap()]);
}

pub(crate) async fn limits_are_set_changed_and_taken_away(bench: impl Bench) {
    let store = bench.store();
    let owner = account(1);
    store.create_account(&owner).await.unwrap();
    let model = "test/model".into();
    store.set_concurrency(&owner.id, None, Some(300)).await.unwrap();
    store
        .set_concurrency(&owner.id, None, Some(u32::MAX))
        .await
        .unwrap();
    store
        .set_concurrency(&owner.id, Some(&model), Some(0))
        .await
        .unwrap();
    let row = |model, concurrent_requests| LimitRow {
        account: owner.id.clone(),
        model,
        concurrent_requests,
    };
    assert_eq!(
        store.limits().await.unwrap(),
        [row(None, u32::MAX), row(Some(model.clone()), 0)]
    );
    store.set_concurrency(&owner.id, None, None).await.unwrap();
    store.set_concurrency(&owner.id, None, None).await.unwrap();
    assert_eq!(store.limits().await.unwrap(), [row(Some(model), 0)]);
    let refused = store
        .set_concurrency(&"acct_x".into(), None, Some(1))
        .await
        .unwrap_err();
    assert!(matches!(refused, StoreFault::NoSuchAccount), "{refused}");
}

pub(crate) async fn sessions_last_until_they_are_over_or_ended(bench: impl Bench) {
    let store = bench.store();
    let row = |number: u8, expires_at_ms: u64| SessionRow {
        hash: [number; 32],
        credential: [9; 32],
        created_at_ms: 1_000,
        expires_at_ms,
    };
    store.create_session(&row(1, 2_000)).await.unwrap();
    store.create_session(&row(2, 5_000)).await.unwrap();
    assert_eq!(store.session(&[1; 32]).await.unwrap(), Some(row(1, 2_000)));
    assert_eq!(store.session(&[3; 32]).await.unwrap(), None);
    let later = SessionRow {
        created_at_ms: 2_000,
        ..row(3, 6_000)
    };
    store.create_session(&later).await.unwrap();
    assert_eq!(store.session(&[1; 32]).await.unwrap(), None, "it was over");
    for _ in 0..2 {
        store.end_session(&[2; 32]).await.unwrap();
    }
    assert_eq!(store.session(&[2; 32]).await.unwrap(), None);
    assert_eq!(store.session(&[3; 32]).await.unwrap(), Some(later));
}

pub(crate) async fn what_was_counted_is_replaced_by_its_process_and_forgotten_in_time(bench: impl Bench) {
    let store = bench.store();
    let row = |step_seconds: u64, at_ms: u64, process: &str, counted: &str| SeriesRow {
        step_seconds,
        at_ms,
        process: process.into(),
        counted: counted.into(),
    };
    for row in [
        row(60, 60_000, "a", "1"),
        row(60, 60_000, "b", "2"),
        row(60, 60_000, "a", "3"),
        row(60, 0, "a", "0"),
        row(3600, 0, "a", "4"),
    ] {
        store.note_series(&row).await.unwrap();
    }
    let both = [row(60, 60_000, "a", "3"), row(60, 60_000, "b", "2")];
    assert_eq!(store.series(60, 1).await.unwrap(), both);
    store.forget_series(60, 60_000).await.unwrap();
    assert_eq!(store.series(60, 0).await.unwrap(), both);
    assert_eq!(store.series(3600, 0).await.unwrap().len(), 1);

    let process = |name: &str, seen_at_ms: u64| ProcessRow {
        process: name.into(),
        started_at_ms: 1,
        seen_at_ms,
        live: "{}".into(),
    };
    store.note_process(&process("a", 1_000), 0).await.unwrap();
    store.note_process(&process("b", 9_000), 500).await.unwrap();
    store.note_process(&process("b", 10_000), 500).await.unwrap();
    let seen = [process("a", 1_000), process("b", 10_000)];
    assert_eq!(store.processes(1_000).await.unwrap(), seen);
    assert_eq!(store.processes(1_001).await.unwrap(), seen[1..]);
    store.note_process(&process("b", 11_000), 1_001).await.unwrap();
    assert_eq!(store.processes(0).await.unwrap(), [process("b", 11_000)]);
    store.forget_process("b").await.unwrap();
    assert_eq!(store.processes(0).await.unwrap(), []);
}

pub(crate) async fn rates_are_set_changed_and_taken_away(bench: impl Bench) {
    let store = bench.store();
    let owner = account(1);
    store.create_account(&owner).await.unwrap();
    let row = |key: Option<&str>, requests, tokens| RateRow {
        account: owner.id.clone(),
        key: key.map(Into::into),
        requests_per_minute: requests,
        tokens_per_minute: tokens,
    };
    store.set_rates(&row(Some("key_1"), None, Some(7))).await.unwrap();
    store.set_rates(&row(None, Some(60), Some(9))).await.unwrap();
    store.set_rates(&row(None, Some(60), None)).await.unwrap();
    let both = [row(None, Some(60), None), row(Some("key_1"), None, Some(7))];
    assert_eq!(store.rates().await.unwrap(), both);
    for _ in 0..2 {
        store.set_rates(&row(None, None, None)).await.unwrap();
    }
    assert_eq!(store.rates().await.unwrap(), both[1..]);
    let unknown = RateRow {
        account: "acct_x".into(),
        ..row(None, Some(1), None)
    };
    let refused = store.set_rates(&unknown).await.unwrap_err();
    assert!(matches!(refused, StoreFault::NoSuchAccount), "{refused}");
}

pub(crate) async fn ceilings_are_set_changed_and_taken_away(bench: impl Bench) {
    let store = bench.store();
    let mut owner = AccountRow {
        credit_limit: Some(Picodollars::ZERO),
        ..account(1)
    };
    let mut owned = key(1, &owner.id);
    store.create_account(&owner).await.unwrap();
    store.create_key(&owned).await.unwrap();
    assert_eq!(store.accounts().await.unwrap(), [owner.clone()]);

    let one = Some(Picodollars::new(1));
    assert!(store.set_credit_limit(&owner.id, None).await.unwrap());
    assert!(store.set_monthly_limit(&owner.id, one).await.unwrap());
    assert!(store.set_key_monthly_limit(&owned.id, one).await.unwrap());
    (owner.credit_limit, owner.monthly_limit, owned.monthly_limit) = (None, one, one);
    assert_eq!(store.accounts().await.unwrap(), [owner.clone()]);
    assert_eq!(store.keys().await.unwrap(), [owned]);

    let beyond = Some(Picodollars::new(i128::from(i64::MAX) + 1));
    let refused = store.set_credit_limit(&owner.id, beyond).await.unwrap_err();
    assert!(matches!(refused, StoreFault::OutOfRange(_)), "{refused}");
    assert!(!store.set_credit_limit(&"acct_x".into(), one).await.unwrap());
    assert!(!store.set_monthly_limit(&"acct_x".into(), one).await.unwrap());
    assert!(!store.set_key_monthly_limit(&"key_x".into(), one).await.unwrap());
}

pub(crate) async fn an_account_is_closed_once(bench: impl Bench) {
    let store = bench.store();
    let mut owner = account(1);
    store.create_account(&owner).await.unwrap();
    assert!(store.close_account(&owner.id, 5_000).await.unwrap());
    assert!(!store.close_account(&owner.id, 6_000).await.unwrap());
    assert!(!store.close_account(&"acct_x".into(), 6_000).await.unwrap());
    owner.closed_at_ms = Some(5_000);
    assert_eq!(store.accounts().await.unwrap(), [owner]);
}

pub(crate) async fn an_admin_token_is_revoked_once(bench: impl Bench) {
    let store = bench.store();
    let mut row = AdminTokenRow {
        id: "tok_1".into(),
        name: "Ada".into(),
        role: Role::Operator,
        hash: [7; 32],
        created_at_ms: 1,
        expires_at_ms: Some(9),
        revoked_at_ms: None,
    };
    store.create_admin_token(&row).await.unwrap();
    assert_eq!(store.admin_tokens().await.unwrap(), [row.clone()]);
    assert!(store.revoke_admin_token("tok_1", 5).await.unwrap());
    assert!(!store.revoke_admin_token("tok_1", 6).await.unwrap());
    assert!(!store.revoke_admin_token("tok_2", 6).await.unwrap());
    row.revoked_at_ms = Some(5);
    assert_eq!(store.admin_tokens().await.unwrap(), [row]);
}

pub(crate) async fn the_audit_log_is_read_by_the_page(bench: impl Bench) {
    let store = bench.store();
    for at_ms in 1..=5 {
        let row = NewAudit {
            at_ms,
            who: format!("tok_{}", at_ms % 2),
            who_name: "Ada".into(),
            action: "limits.set",
            target: "acct_1".into(),
            before: None,
            after: Some("{}".into()),
            request_id: "req_1".into(),
        };
        store.add_audit(&row).await.unwrap();
    }
    let times = async |page: AuditPage| -> Vec<u64> {
        let rows = store.audit(&page).await.unwrap();
        rows.iter().map(|row| row.at_ms).collect()
    };
    let page = |limit| AuditPage {
        limit,
        ..AuditPage::default()
    };
    assert_eq!(times(page(2)).await, [5, 4]);
    let last = store.audit(&page(2)).await.unwrap()[1].number;
    let rest = AuditPage {
        below: Some(last),
        since_ms: 2,
        ..page(9)
    };
    assert_eq!(times(rest).await, [3, 2]);
    let by = |who: &str, target: &str| AuditPage {
        who: Some(who.into()),
        target: Some(target.into()),
        ..page(9)
    };
    assert_eq!(times(by("tok_1", "acct_1")).await, [5, 3, 1]);
    assert_eq!(times(by("Ada", "acct_1")).await.len(), 5);
    assert!(times(by("Ada", "acct_2")).await.is_empty());
}

pub(crate) async fn a_limit_request_is_open_once_and_decided_once(bench: impl Bench) {
    let store = bench.store();
    let owner = account(1);
    store.create_account(&owner).await.unwrap();
    let ask = |number: u64| LimitRequestRow {
        id: format!("ask_{number}"),
        account: owner.id.clone(),
        key: "key_1".into(),
        rate_limit: 400,
        tpm_rate_limit: Some(1_000),
        reason: "more".into(),
        created_at_ms: number,
        state: RequestState::Open,
        decided_at_ms: None,
        decided_by: None,
        note: None,
        granted: None,
    };
    assert!(store.create_limit_request(&ask(1)).await.unwrap());
    assert!(!store.create_limit_request(&ask(2)).await.unwrap());
    assert_eq!(store.limit_request("ask_1").await.unwrap(), Some(ask(1)));
    let decision = |granted| Decision {
        at_ms: 9,
        by: "Ada".into(),
        note: "yes".into(),
        granted,
    };
    let decide = async |granted| {
        let decision = decision(granted);
        store
            .decide_limit_request("ask_1", &owner.id, &decision)
            .await
            .unwrap()
    };
    assert!(decide(Some(300)).await);
    assert!(!decide(Some(900)).await && !decide(None).await);
    assert_eq!(store.limits().await.unwrap()[0].concurrent_requests, 300);
    assert!(store.create_limit_request(&ask(2)).await.unwrap());
    let listed = async |state, after: Option<(u64, &str)>, most| {
        let after = after.map(|(at_ms, id)| (at_ms, id.to_owned()));
        let rows = store.limit_requests(Some(&owner.id), state, after.as_ref(), most);
        let rows = rows.await.unwrap().into_iter();
        rows.map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, None, 10).await, ["ask_2", "ask_1"]);
    assert_eq!(listed(None, None, 1).await, ["ask_2"]);
    assert_eq!(listed(None, Some((2, "ask_2")), 10).await, ["ask_1"]);
    assert_eq!(listed(None, Some((1, "ask_2")), 10).await, ["ask_1"]);
    assert!(listed(None, Some((1, "ask_1")), 10).await.is_empty());
    let approved = Some(RequestState::Approved);
    assert_eq!(listed(approved, None, 10).await, ["ask_1"]);
}

pub(crate) async fn engines_are_drained_and_restored(bench: impl Bench) {
    let store = bench.store();
    let (a, b) = ("a".into(), "b".into());
    store.drain_engine(&b, 1, "root").await.unwrap();
    store.drain_engine(&a, 2, "root").await.unwrap();
    store.drain_engine(&a, 3, "tok_1").await.unwrap();
    assert_eq!(store.drained_engines().await.unwrap(), [a, b.clone()]);
    store.restore_engine(&"a".into()).await.unwrap();
    assert_eq!(store.drained_engines().await.unwrap(), [b]);
}

pub(crate) async fn settings_read_back(bench: impl Bench) {
    let store = bench.store();
    assert_eq!(store.setting("admin_token").await.unwrap(), None);
    store.set_setting("admin_token", &[0, 255]).await.unwrap();
    store.set_setting("admin_token", &[1]).await.unwrap();
    assert_eq!(store.setting("admin_token").await.unwrap(), Some(vec![1]));
}

pub(crate) async fn a_setting_is_set_once_by_whoever_comes_first(bench: impl Bench) {
    let store = bench.store();
    assert_eq!(store.setting_or("name", b"first").await.unwrap(), b"first");
    assert_eq!(store.setting_or("name", b"second").await.unwrap(), b"first");
    assert_eq!(store.setting("name").await.unwrap().unwrap(), b"first");
}

pub(crate) async fn a_price_has_a_version_until_it_changes(bench: impl Bench) {
    let store = bench.store();
    let (a, b) = ("test/a".into(), "test/b".into());
    let cheap = Price::of_tokens(TokenPrice::from_picodollars(1), None, TokenPrice::MAX);
    let dear = Price {
        cached_input: Some(TokenPrice::from_picodollars(1)),
        ..cheap.clone()
    };
    let versions = async |model: &ModelId| -> Vec<(i64, Option<u64>)> {
        let prices = store.prices(model).await.unwrap();
        prices
            .iter()
            .map(|price| (price.version.0, price.effective_at_ms))
            .collect()
    };
    store.note_catalog_price(&a, &cheap, 1).await.unwrap();
    store.note_catalog_price(&a, &cheap, 2).await.unwrap();
    store.note_catalog_price(&b, &cheap, 2).await.unwrap();
    assert_eq!(versions(&a).await, [(1, Some(1))]);
    assert_eq!(versions(&b).await, [(2, Some(2))]);

    // An administrator's price goes on holding over restarts, until models.yaml says something new.
    let source = PriceSource::Admin;
    store.add_price(&a, &dear, Some(9), source, 3).await.unwrap();
    store.note_catalog_price(&a, &cheap, 10).await.unwrap();
    assert_eq!(versions(&a).await, [(1, Some(1)), (3, Some(9))]);
    store.note_catalog_price(&a, &dear, 11).await.unwrap();
    // A price that comes back is a new chapter, not the old one.
    store.note_catalog_price(&a, &cheap, 12).await.unwrap();
    assert_eq!(
        versions(&a).await,
        [(1, Some(1)), (3, Some(9)), (4, Some(11)), (5, Some(12))]
    );
    assert_eq!(store.prices(&a).await.unwrap()[1].price, dear);
}

pub(crate) async fn a_directory_belongs_to_one_farebox(bench: impl Bench) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = bench.open_in(&data).await.unwrap();
    let refused = bench.open_in(&data).await.err().unwrap();
    assert!(
        matches!(&refused, StoreFault::InUse(dir) if *dir == data),
        "{refused}"
    );
    assert!(refused.to_string().starts_with("another farebox uses"));
    drop(store);
    bench.open_in(&data).await.unwrap();
}

pub(crate) async fn a_directory_that_cannot_be_made_is_named(bench: impl Bench) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = bench.open_in(&file.join("data")).await.err().unwrap();
    assert!(matches!(refused, StoreFault::Directory(..)), "{refused}");
}

#[cfg(unix)]
pub(crate) async fn the_directory_is_private(bench: impl Bench) {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let _store = bench.open_in(&data).await.unwrap();
    let mode = std::fs::metadata(data).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
