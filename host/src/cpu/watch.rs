//! Long work that tells how far it is, and can be told to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Error;
use crate::tensors::Progress;

/// Who watches a run.
#[derive(Clone, Copy, Default)]
pub struct Watch<'a> {
    /// Is told how many blocks are done, of how many.
    pub progress: Option<Progress<'a>>,
    /// Ends the run with [`Error::Cancelled`] after the blocks that are being computed, once it is true.
    pub cancelled: Option<&'a AtomicBool>,
}

/// Blocks of one run, counted by whichever threads do them.
pub(super) struct Steps<'a> {
    watch: Watch<'a>,
    done: AtomicU64,
    total: u64,
}

impl<'a> Steps<'a> {
    pub fn new(watch: Watch<'a>, total: u64) -> Steps<'a> {
        Steps { watch, done: AtomicU64::new(0), total }
    }

    /// One more block is done.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where no other shall begin.
    pub fn done(&self) -> Result<(), Error> {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.watch.progress.inspect(|report| report(done, self.total));
        match self.watch.cancelled {
            Some(cancelled) if cancelled.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}
