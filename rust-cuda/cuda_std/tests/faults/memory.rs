//! Races, and accesses where there is nothing.

use cuda_std::global::GlobalMut;
use cuda_std::shared::Shared;
use cuda_std::simt::{AccessKind, Finding, FindingKind, Grid, Memory, Report, Schedule, Space};
use cuda_std::thread::{block_idx_x, sync_threads, thread_idx_x};

use crate::{SCHEDULES, Source, caught, one_block, race, source};

const HERE: Source = source!("memory.rs");

#[test]
fn two_threads_write_the_same_shared_word() {
    let kernel = |writers: u32| {
        let all = Shared::<u32>::dynamic(0);
        if thread_idx_x() < writers {
            unsafe { all.store(0, thread_idx_x()) }; // @write
        }
    };
    let run = |writers| move |schedule| one_block(64, 4, schedule, || kernel(writers));
    caught(
        run(2),
        |finding| {
            let Some([a, b]) = race(finding) else { return false };
            let threads = [a.thread.min(b.thread), a.thread.max(b.thread)];
            threads == [0, 1]
                && HERE.are_at([&a, &b], ["write", "write"])
                && (a.kind, b.kind) == (AccessKind::Write, AccessKind::Write)
                && (finding.address, finding.bytes) == (0, 4)
                && matches!(finding.kind, FindingKind::Race { space: Space::Shared, .. })
        },
        run(1),
    );
}

#[test]
fn a_thread_reads_what_another_writes_without_a_barrier() {
    let kernel = |barrier: bool| {
        let (all, t) = (Shared::<f32>::dynamic(0), thread_idx_x());
        unsafe { all.store(t, t as f32) }; // @fill
        if barrier {
            sync_threads();
        }
        unsafe { all.load(63 - t) }; // @mirror
    };
    let run = |barrier| move |schedule| one_block(64, 256, schedule, || kernel(barrier));
    caught(
        run(false),
        |finding| {
            let Some([a, b]) = race(finding) else { return false };
            a.thread + b.thread == 63 && HERE.are_at([&a, &b], ["fill", "mirror"])
        },
        run(true),
    );
}

#[test]
fn a_stage_is_refilled_while_others_still_read_it() {
    let kernel = |barrier: bool| {
        let (all, t) = (Shared::<f32>::dynamic(0), thread_idx_x());
        for step in 0..3 {
            unsafe { all.store(t, step as f32) }; // @refill
            sync_threads();
            unsafe { all.load((t + 32) % 64) }; // @use
            if barrier {
                sync_threads();
            }
        }
    };
    let run = |barrier| move |schedule| one_block(64, 256, schedule, || kernel(barrier));
    caught(
        run(false),
        |finding| race(finding).is_some_and(|[a, b]| a.thread != b.thread && HERE.are_at([&a, &b], ["refill", "use"])),
        run(true),
    );
}

/// A vector read overlaps the word that a neighbour writes: a race of accesses of different sizes.
#[test]
fn accesses_of_different_sizes_race_where_they_overlap() {
    let kernel = |vector: u32| {
        let (all, t) = (Shared::<f32>::dynamic(0), thread_idx_x());
        unsafe { all.store(t, 1.0) };
        sync_threads();
        if t == 0 {
            unsafe { all.load_16(vector, &mut [0.0; 4]) }; // @vector
        } else if t == 7 {
            unsafe { all.store(7, 2.0) }; // @word
        }
    };
    let run = |vector| move |schedule| one_block(32, 128, schedule, || kernel(vector));
    caught(run(4), |finding| race(finding).is_some_and(|[a, b]| HERE.are_at([&a, &b], ["vector", "word"])), run(8));
}

fn over_a_buffer(blocks: u32, threads: u32, schedule: Schedule, kernel: impl Fn(GlobalMut<u32>)) -> Report {
    let mut memory = Memory::new();
    let y = memory.buffer("y", &[0u32; 64]);
    Grid::new("kernel", blocks, threads).schedule(schedule).run(&memory, || kernel(y.global_mut()))
}

#[test]
fn threads_of_a_block_race_in_global_memory() {
    let kernel = |barrier: bool, y: GlobalMut<u32>| {
        let t = u64::from(thread_idx_x());
        unsafe { y.store(t, 1) }; // @global write
        if barrier {
            sync_threads();
        }
        unsafe { y.load(63 - t) }; // @global read
    };
    let run = |barrier| move |schedule| over_a_buffer(1, 64, schedule, |y| kernel(barrier, y));
    caught(
        run(false),
        |finding| {
            let Some([a, b]) = race(finding) else { return false };
            a.thread + b.thread == 63
                && (a.block, b.block) == (0, 0)
                && HERE.are_at([&a, &b], ["global write", "global read"])
                && finding.buffer.as_deref() == Some("y")
                && finding.address.is_multiple_of(4)
                && matches!(finding.kind, FindingKind::Race { space: Space::Global, .. })
        },
        run(true),
    );
}

/// No barrier orders blocks: not even one in each.
#[test]
fn blocks_race_in_global_memory() {
    let kernel = |stride: u64, y: GlobalMut<u32>| {
        if thread_idx_x() == 3 {
            unsafe { y.store(u64::from(block_idx_x()) * stride, 1) }; // @by blocks
        }
        sync_threads();
    };
    let run = |stride| move |schedule| over_a_buffer(4, 32, schedule, |y| kernel(stride, y));
    caught(
        run(0),
        |finding| {
            let Some([a, b]) = race(finding) else { return false };
            a.block != b.block && (a.thread, b.thread) == (3, 3) && HERE.are_at([&a, &b], ["by blocks", "by blocks"])
        },
        run(1),
    );
}

/// Many blocks read, one writes: forgotten readers must not hide it.
#[test]
fn a_block_writes_what_all_blocks_read() {
    let kernel = |write: bool, y: GlobalMut<u32>| {
        unsafe { y.load(0) }; // @every block
        if write && block_idx_x() == 20 && thread_idx_x() == 0 {
            unsafe { y.store(0, 1) }; // @one block
        }
    };
    let run = |write| move |schedule| over_a_buffer(40, 32, schedule, |y| kernel(write, y));
    caught(
        run(true),
        |finding| {
            let Some([a, b]) = race(finding) else { return false };
            a.block != b.block && HERE.are_at([&a, &b], ["every block", "one block"])
        },
        run(false),
    );
}

/// One launch after the other is ordered.
#[test]
fn launches_do_not_race_with_each_other() {
    for schedule in SCHEDULES {
        let mut memory = Memory::new();
        let y = memory.buffer("y", &[0u32; 32]);
        for _ in 0..2 {
            let write = || unsafe { y.global_mut().store(u64::from(31 - thread_idx_x()), thread_idx_x()) };
            Grid::new("write", 1, 32).schedule(schedule).run(&memory, write).expect_clean();
            let read = || assert_eq!(unsafe { y.global().load(u64::from(thread_idx_x())) }, 31 - thread_idx_x());
            Grid::new("read", 1, 32).schedule(schedule).run(&memory, read).expect_clean();
        }
    }
}

#[test]
fn past_the_end_of_shared_memory() {
    let kernel = |shift: u32| {
        let all = Shared::<f64>::dynamic(0);
        unsafe { all.store(thread_idx_x() + shift, 1.0) }; // @past shared
    };
    let run = |shift| move |schedule| one_block(32, 256, schedule, || kernel(shift));
    caught(
        run(1),
        |finding| {
            let access = finding.access.as_ref();
            finding.kind == FindingKind::OutOfBounds { space: Space::Shared, limit: 256 }
                && access.is_some_and(|access| access.thread == 31 && HERE.is_at(access, "past shared"))
                && (finding.address, finding.bytes) == (256, 8)
        },
        run(0),
    );
}

/// An index whose address would wrap to the start is as far outside as any.
#[test]
fn an_address_that_wraps_is_out_of_bounds() {
    let kernel = |index: u32| unsafe { Shared::<f32>::dynamic(0).store(index, 1.0) };
    for (index, clean) in [(0, true), (0x4000_0000, false), (u32::MAX, false)] {
        let report = one_block(1, 64, Schedule::InOrder, || kernel(index));
        let outside = |finding: &Finding| matches!(finding.kind, FindingKind::OutOfBounds { space: Space::Shared, .. });
        assert_eq!(report.is_clean(), clean, "{index:#x}: {report}");
        assert!(report.findings.iter().all(outside), "{report}");
    }
}

#[test]
#[should_panic(expected = "one that was freed")]
fn a_buffer_is_not_read_after_it_was_freed() {
    let mut memory = Memory::new();
    let x = memory.buffer("x", &[1.0f32]);
    assert!(memory.free(x.address()));
    memory.read(&x);
}

/// Threads that still wait when the grid ends are unwound: what they lent to others is given back first.
#[test]
fn a_trap_unwinds_the_threads_that_wait() {
    let dropped = std::cell::Cell::new(0);
    struct Counted<'a>(&'a std::cell::Cell<u32>);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let report = one_block(32, 0, Schedule::InOrder, || {
        let _counted = Counted(&dropped);
        if thread_idx_x() == 31 {
            cuda_std::thread::trap();
        }
        cuda_std::thread::sync_threads();
    });
    assert!(!report.is_clean());
    assert_eq!(dropped.get(), 32);
}

#[test]
fn past_the_end_of_a_buffer() {
    let kernel = |shift: u64, y: GlobalMut<u32>| {
        let found = unsafe { y.load(u64::from(thread_idx_x()) + shift) }; // @past buffer
        assert_eq!(found, 0, "what lies outside reads as 0");
    };
    let run = |shift| move |schedule| over_a_buffer(1, 64, schedule, |y| kernel(shift, y));
    caught(
        run(1),
        |finding| {
            let access = finding.access.as_ref();
            finding.kind == FindingKind::OutOfBounds { space: Space::Global, limit: 256 }
                && access.is_some_and(|access| access.thread == 63 && HERE.is_at(access, "past buffer"))
                && (finding.address, finding.bytes, finding.buffer.as_deref()) == (256, 4, Some("y"))
        },
        run(0),
    );
}

/// Null, and an address before every buffer.
#[test]
fn where_there_is_no_buffer() {
    let run = |null: bool| {
        move |schedule| {
            over_a_buffer(1, 1, schedule, |y| {
                let y = if null { GlobalMut::null() } else { y };
                unsafe { y.store(0, 1) }; // @nowhere
            })
        }
    };
    let is_it = |finding: &cuda_std::simt::Finding| {
        finding.kind == FindingKind::OutOfBounds { space: Space::Global, limit: 0 }
            && finding.access.as_ref().is_some_and(|access| HERE.is_at(access, "nowhere"))
    };
    caught(run(true), is_it, run(false));
}

#[test]
fn a_buffer_that_was_freed_is_gone() {
    for schedule in SCHEDULES {
        let mut memory = Memory::new();
        let _other = memory.buffer("x", &[0u32]);
        let y = memory.buffer("y", &[0u32]);
        let run = |memory: &Memory| {
            Grid::new("kernel", 1, 1).schedule(schedule).run(memory, || unsafe { y.global_mut().store(0, 1) })
        };
        run(&memory).expect_clean();
        assert!(memory.free(y.address()));
        let report = run(&memory);
        assert!(matches!(report.findings[0].kind, FindingKind::OutOfBounds { space: Space::Global, .. }), "{report}");
    }
}

#[test]
fn misaligned_in_shared_memory() {
    let kernel = |bytes: u32| {
        unsafe { Shared::<f64>::dynamic(bytes).store(thread_idx_x(), 1.0) }; // @odd shared
    };
    let run = |bytes| move |schedule| one_block(2, 64, schedule, || kernel(bytes));
    let is_it = |finding: &cuda_std::simt::Finding| {
        finding.kind == FindingKind::Misaligned { space: Space::Shared }
            && finding.bytes == 8
            && finding.access.as_ref().is_some_and(|access| HERE.is_at(access, "odd shared"))
    };
    caught(run(4), is_it, run(8));
}

/// A 16-byte load from the second element of an array: each element is aligned, the vector is not.
#[test]
fn a_misaligned_vector_of_global_memory() {
    let run = |first: u64| {
        move |schedule| {
            over_a_buffer(1, 1, schedule, |y| {
                let x = cuda_std::global::Global::<u32>::from_address(y.address());
                let _: [u32; 4] = unsafe { x.load_array(first) }; // @odd vector
            })
        }
    };
    let is_it = |finding: &cuda_std::simt::Finding| {
        finding.kind == FindingKind::Misaligned { space: Space::Global }
            && (finding.address, finding.bytes, finding.buffer.as_deref()) == (4, 16, Some("y"))
            && finding.access.as_ref().is_some_and(|access| HERE.is_at(access, "odd vector"))
    };
    caught(run(1), is_it, run(4));
}

#[test]
fn a_read_of_shared_memory_that_nothing_wrote() {
    let kernel = |written: u32| {
        let (all, t) = (Shared::<u32>::dynamic(0), thread_idx_x());
        if t < written {
            unsafe { all.store(t, t) };
        }
        sync_threads();
        unsafe { all.load(t) }; // @read unwritten
    };
    let run = |written| move |schedule| one_block(32, 128, schedule, || kernel(written));
    caught(
        run(31),
        |finding| {
            let access = finding.access.as_ref();
            finding.kind == FindingKind::NeverWritten
                && finding.address == 124
                && access.is_some_and(|access| access.thread == 31 && HERE.is_at(access, "read unwritten"))
        },
        run(32),
    );
}
