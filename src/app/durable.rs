//! What outlives a process, opened and recovered before there is a first request: accounts and keys, the bill, the outbox.

use super::StartFault;
use super::replica::Replica;
use crate::admission::directory::Directory;
use crate::admission::wallet::Payer;
use crate::clock::Clock;
use crate::ledger::{Books, EngineCounters, ExportQueue, Journal, Ledger, LedgerFault};
use crate::secrets::Secrets;
use crate::store::{DatabaseUrl, Store};
use crate::telemetry::log;
use farebox_domain::month::Month;
use std::path::Path;
use std::sync::Arc;

/// The store, and all that is read and written in it.
pub(super) struct Durable {
    pub(super) store: Store,
    pub(super) directory: Arc<Directory>,
    /// What is billed is read here.
    pub(super) ledger: Arc<dyn Ledger>,
    /// What is to be billed is made durable here: the ledger itself, or a replica's outbox.
    pub(super) journal: Arc<dyn Journal>,
    pub(super) export_queue: Arc<dyn ExportQueue>,
    pub(super) counters: Arc<dyn EngineCounters>,
    /// Where replicas share the store.
    pub(super) replica: Option<Replica>,
}

impl Durable {
    /// Opens the store of `data_dir`, or the shared one, and books what was open when an earlier process ended.
    pub(super) async fn open(
        data_dir: &Path,
        database: Option<&DatabaseUrl>,
        (clock, secrets): (&Clock, &Secrets),
    ) -> Result<Self, StartFault> {
        let store = match database {
            Some(url) => Store::connect(data_dir, url).await?,
            None => Store::open(data_dir).await?,
        };
        let books = Books::open(&store).await?;
        let directory = Arc::new(match &books {
            Books::Embedded(_) => Directory::default(),
            Books::Shared(_) => Directory::leased(),
        });
        directory.read(&store).await?;
        let (export_queue, counters) = books.beside();
        let (journal, ledger, replica): (Arc<dyn Journal>, Arc<dyn Ledger>, _) = match books {
            Books::Embedded(both) => {
                log::recovered(both.recover().await?);
                load_wallets(&directory, &*both, Month::of_ms(clock.unix_ms())).await?;
                (both.clone(), both, None)
            }
            Books::Shared(ledger) => {
                let new_id = || format!("replica_{}", secrets.random_hex(8));
                let replica = Replica::open(&store, &ledger, &directory, clock, new_id).await?;
                (replica.outbox.clone(), ledger, Some(replica))
            }
        };
        Ok(Self {
            store,
            directory,
            ledger,
            journal,
            export_queue,
            counters,
            replica,
        })
    }
}

/// What was ever spent and adjusted, and what was spent in the months that a clock which jumps a day may find itself in.
async fn load_wallets(directory: &Directory, ledger: &dyn Ledger, month: Month) -> Result<(), LedgerFault> {
    for balance in ledger.balances().await? {
        if let Some(account) = directory.account(&balance.account) {
            account.wallet.load_balance(balance.spent, balance.adjusted);
        }
    }
    for month in [month.previous(), month, month.next()] {
        for of_key in ledger.spent_in(month).await? {
            if let Some(account) = directory.account(&of_key.account) {
                let key = &of_key.key;
                account.wallet.load_month(Payer { key, month }, of_key.spent);
            }
        }
    }
    Ok(())
}
