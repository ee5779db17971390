//! A kernel, run on the host; then the same without its barrier, and what the executor says of it.
//!
//!     cargo run --release -p cuda_std --example reverse
//!
//! EXECUTOR.md walks through it.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::kernel;
use cuda_std::launch::KernelSpec;
use cuda_std::shared::Shared;
use cuda_std::simt::{Grid, Memory, Report};
use cuda_std::thread::{block_idx_x, sync_threads, thread_idx_x};

/// Elements that a block reverses: one a thread.
const TILE: u32 = 128;

/// The launch.
const SPEC: KernelSpec = KernelSpec { name: "reverse", threads: TILE, min_blocks: 1, shared_bytes: TILE * 4 };

/// y[128·b + i] = x[128·b + 127 − i] for block b and thread i.
///
/// # Safety
/// x and y hold 128 elements a block, y is nobody else's, and the launch is as `SPEC` says.
#[kernel(max_threads = 128)]
pub unsafe fn reverse(x: Global<f32>, y: GlobalMut<f32>) {
    let (tile, i) = (Shared::<f32>::dynamic(0), thread_idx_x());
    let first = u64::from(block_idx_x() * TILE);
    // SAFETY: i < 128; the barrier lies between the stores to the tile and the loads from it.
    unsafe {
        tile.store(i, x.load(first + u64::from(i)));
        sync_threads();
        y.store(first + u64::from(i), tile.load(TILE - 1 - i));
    }
}

/// `reverse`, broken: nothing orders a thread's load from the tile after the other thread's store.
///
/// # Safety
/// Not safe at all on a GPU.
#[kernel(max_threads = 128)]
pub unsafe fn reverse_broken(x: Global<f32>, y: GlobalMut<f32>) {
    let (tile, i) = (Shared::<f32>::dynamic(0), thread_idx_x());
    let first = u64::from(block_idx_x() * TILE);
    // SAFETY: i < 128. The executor bears with the race.
    unsafe {
        tile.store(i, x.load(first + u64::from(i)));
        y.store(first + u64::from(i), tile.load(TILE - 1 - i));
    }
}

/// A kernel over 2 blocks of 0, 1, 2, …: what was found, and y.
pub fn run(kernel: unsafe fn(Global<f32>, GlobalMut<f32>)) -> (Report, Vec<f32>) {
    let values: Vec<f32> = (0..2 * TILE).map(|i| i as f32).collect();
    let mut memory = Memory::new();
    let (x, y) = (memory.buffer("x", &values), memory.buffer("y", &[f32::NAN; 2 * TILE as usize]));
    // SAFETY: x and y hold 128 elements for each of the 2 blocks; the launch is held against the spec.
    let report = Grid::of(SPEC, 2).run(&memory, || unsafe { kernel(x.global(), y.global_mut()) });
    (report, memory.read(&y))
}

/// Runs both.
pub fn main() {
    let (report, y) = run(reverse);
    println!("with the barrier: {report}");
    println!("y = {:?} … {:?}\n", &y[..3], &y[253..]);

    let (report, _) = run(reverse_broken);
    print!("without it:\n{report}");
}
