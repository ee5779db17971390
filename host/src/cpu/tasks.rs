//! Tasks on some threads, each of which keeps its scratch.

use rayon::prelude::*;

use super::simd::{Aligned, Real};
use crate::Error;

/// Who works on tasks: at most so many threads at once, each with scratch of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workers {
    pub threads: usize,
    /// Values of each one's scratch.
    pub scratch: usize,
}

impl Workers {
    /// Does all tasks, neighbours by the same thread where it can: they write to neighbouring places. Scratch is as the task
    /// before left it.
    ///
    /// # Errors
    /// [`Error::Memory`] where scratch does not fit; that of a task that fails. The rest may be left undone then.
    pub fn each<R: Real, T: Send>(
        self,
        tasks: impl IndexedParallelIterator<Item = T>,
        work: impl Fn(T, &mut [R]) -> Result<(), Error> + Sync + Send,
    ) -> Result<(), Error> {
        // Pieces at least this long are no more than there may be threads.
        let least = if self.threads < rayon::current_num_threads() { tasks.len().div_ceil(self.threads) } else { 1 };
        tasks.with_min_len(least).try_for_each_init(
            || Aligned::zeros("scratch of a thread", self.scratch),
            |scratch, task| work(task, scratch.as_mut().map_err(|error| error.clone())?.as_mut_slice()),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_task_is_done_once_and_no_more_threads_work_than_may() {
        let (working, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |task: usize, scratch: &mut [f32]| {
            most.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            assert_eq!(scratch.len(), 5);
            std::thread::yield_now();
            done.fetch_add(task, Ordering::SeqCst);
            working.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        for threads in [1, 3, 100] {
            done.store(0, Ordering::SeqCst);
            most.store(0, Ordering::SeqCst);
            let tasks = (0..1000usize).into_par_iter();
            pool.install(|| Workers { threads, scratch: 5 }.each(tasks, work)).unwrap();
            assert_eq!(done.load(Ordering::SeqCst), 999 * 500);
            assert!(most.load(Ordering::SeqCst) <= threads.min(4));
        }
    }

    #[test]
    fn a_failure_ends_it() {
        let fails = |task: usize, _: &mut [f64]| if task == 7 { Err(Error::Cancelled) } else { Ok(()) };
        let tasks = |count: usize| (0..count).into_par_iter();
        let workers = Workers { threads: 2, scratch: 0 };
        assert_eq!(workers.each(tasks(100), fails), Err(Error::Cancelled));
        assert_eq!(workers.each(tasks(0), fails), Ok(()));
        let workers = Workers { threads: 2, scratch: usize::MAX };
        assert!(matches!(workers.each(tasks(3), fails), Err(Error::Memory { .. })));
    }
}
