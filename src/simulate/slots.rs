//! Who is being decoded and who waits: a fixed number of slots, first come first served, and a bounded queue.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

type Acquire = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// The slots of one engine.
#[derive(Debug)]
pub(super) struct Slots {
    semaphore: Arc<Semaphore>,
    total: usize,
    /// Zero: without bound.
    queue: usize,
    waiting: Arc<AtomicUsize>,
}

/// What a request that has just come is given.
pub(super) enum Entry {
    /// A slot that was free.
    Now(OwnedSemaphorePermit),
    /// A place in the queue.
    Later(Place),
    /// The queue is full.
    Full,
}

/// A place in the queue; leaves it on drop.
pub(super) struct Place {
    acquire: Acquire,
    waiting: Arc<AtomicUsize>,
}

impl Slots {
    pub(super) fn new(total: usize, queue: usize) -> Slots {
        let total = total.clamp(1, Semaphore::MAX_PERMITS);
        let semaphore = Arc::new(Semaphore::new(total));
        Slots {
            semaphore,
            total,
            queue,
            waiting: Arc::new(AtomicUsize::new(0)),
        }
    }

    pub(super) fn enter(&self) -> Entry {
        if let Ok(permit) = Arc::clone(&self.semaphore).try_acquire_owned() {
            return Entry::Now(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let acquire = Box::pin(Arc::clone(&self.semaphore).acquire_owned());
        let place = Place {
            acquire,
            waiting: Arc::clone(&self.waiting),
        };
        // Dropping the place takes the count back.
        if self.queue != 0 && before >= self.queue {
            Entry::Full
        } else {
            Entry::Later(place)
        }
    }

    pub(super) fn running(&self) -> usize {
        self.total - self.semaphore.available_permits().min(self.total)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}

impl Place {
    /// Ready with the slot; `None` never comes, as the semaphore is never closed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        self.acquire.as_mut().poll(cx).map(Result::ok)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
