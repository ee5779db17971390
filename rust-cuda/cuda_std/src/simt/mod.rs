//! The SIMT executor: on every target but `nvptx64`, the operations of this crate have their meaning inside a running grid.
//!
//! A kernel runs unchanged. Each of its threads is a coroutine on one thread of the host, switched where the hardware could
//! switch it: at barriers, warp collectives and waits. Every access to shared memory, and to global memory that was
//! registered, is checked as it happens; what is wrong comes back as typed [`Finding`]s with both places in the source.
//!
//! ```
//! use cuda_std::global::GlobalMut;
//! use cuda_std::simt::{Grid, Memory};
//! use cuda_std::thread;
//!
//! /// y[i] = 2·y[i].
//! unsafe fn double(n: u64, y: GlobalMut<f32>) {
//!     let i = thread::index_1d();
//!     if i < n {
//!         // SAFETY: i < n.
//!         unsafe { y.store(i, 2.0 * y.load(i)) };
//!     }
//! }
//!
//! let mut memory = Memory::new();
//! let y = memory.buffer("y", &[1.0f32, 2.0, 3.0]);
//! // SAFETY: y holds 3 elements.
//! let report = Grid::new("double", 2, 2).run(&memory, || unsafe { double(3, y.global_mut()) });
//! report.expect_clean();
//! assert_eq!(memory.read(&y), [2.0, 4.0, 6.0]);
//! ```
//!
//! | promised | how |
//! |---|---|
//! | data races, shared and global | vector clocks: two accesses, one of them a write, that no barrier orders |
//! | accesses out of bounds or misaligned | every address is checked against its allocation |
//! | reads of shared memory never written | a bit a byte |
//! | barriers and collectives that some thread misses | the block cannot go on: each waiting group is reported |
//! | asynchronous copies used too early, mbarriers misused, proxy fences left out | a copy's bytes arrive at the wait and no sooner |
//! | the same run for the same [`Schedule`] | in order, reversed, or random from a seed |
//!
//! Not promised: timing; weak memory beyond "unordered is a race"; the order of blocks beyond the schedule's; registers,
//! occupancy, bank conflicts; an end to a loop in which a thread never waits.
//!
//! `EXECUTOR.md` beside this crate's `README.md` has the model, every class of fault with the test that shows it, and an
//! example to break: `cargo run --release -p cuda_std --example reverse`.

pub(crate) mod async_copy;
mod barrier;
mod block;
pub(crate) mod bulk_copy;
mod clock;
mod collective;
mod finding;
mod grid;
pub(crate) mod mbarrier;
mod memory;
pub(crate) mod ops;
mod schedule;
mod shadow;
pub(crate) mod warpgroup;

pub use finding::{Access, AccessKind, Finding, FindingKind, Report, Space};
pub use grid::Grid;
pub use memory::{Buffer, Memory};
pub use schedule::Schedule;
