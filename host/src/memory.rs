//! Memory that grows with a problem: asked for, never assumed.
//!
//! Allocations whose size a caller decides go through [`check`] (is there enough?) and
//! [`try_with_capacity`] (did the allocator agree?), so that an absurd size is an [`Error::Memory`] with
//! its numbers instead of an abort, or a process that the system kills once the pages are touched.

use std::fs;

use ndarray::{Array, Dimension};

use crate::Error;

/// Below this, asking the system costs more than the answer is worth.
const NEGLIGIBLE: u64 = 1 << 20;

/// Bytes this process may still take: the lesser of the system's `MemAvailable` and what its control
/// group leaves. `None` where the system does not say (anything but Linux).
pub fn available() -> Option<u64> {
    [system(), control_group()].into_iter().flatten().min()
}

/// Whether `needed` bytes fit in memory now.
///
/// # Errors
/// [`Error::Memory`] with both numbers. Where the system does not say what is available, all sizes pass.
pub fn check(what: &'static str, needed: u64) -> Result<(), Error> {
    if needed < NEGLIGIBLE {
        return Ok(());
    }
    check_among(what, needed, available())
}

/// Whether `needed` bytes are among those available, on whatever device: all sizes are where it does not say.
///
/// # Errors
/// [`Error::Memory`] with both numbers.
pub(crate) fn check_among(what: &'static str, needed: u64, available: Option<u64>) -> Result<(), Error> {
    match available {
        Some(there) if needed > there => Err(Error::Memory { what, needed, available }),
        _ => Ok(()),
    }
}

/// An empty vector with room for `len` values.
///
/// # Errors
/// [`Error::Memory`] where they do not fit.
pub fn try_with_capacity<T>(what: &'static str, len: usize) -> Result<Vec<T>, Error> {
    let needed = (len as u64).saturating_mul(size_of::<T>() as u64);
    check(what, needed)?;
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::Memory { what, needed, available: available() })?;
    Ok(values)
}

/// `len` copies of `value`.
///
/// # Errors
/// [`Error::Memory`] where they do not fit.
pub fn try_filled<T: Clone>(what: &'static str, len: usize, value: T) -> Result<Vec<T>, Error> {
    let mut values = try_with_capacity(what, len)?;
    values.resize(len, value);
    Ok(values)
}

/// `len` zeros, whose pages the system gives when they are first touched: by whichever thread does.
///
/// # Errors
/// [`Error::Memory`] where they do not fit.
pub(crate) fn try_zeroed<T: bytemuck::Zeroable>(what: &'static str, len: usize) -> Result<Vec<T>, Error> {
    let needed = (len as u64).saturating_mul(size_of::<T>() as u64);
    check(what, needed)?;
    let values = bytemuck::allocation::try_zeroed_vec(len).map_err(|()| Error::Memory {
        what,
        needed,
        available: available(),
    })?;
    prefer_huge_pages(&values);
    Ok(values)
}

/// Asks for 2 MiB pages where they are to be had: large workspaces are touched once a run, and a fault for each 4 KiB takes
/// longer than the work on it.
fn prefer_huge_pages<T>(values: &[T]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let (start, end) = (values.as_ptr().addr(), values.as_ptr().addr() + size_of_val(values));
        let first = start.next_multiple_of(PAGE);
        if end > first + (1 << 21) {
            // SAFETY: whole pages inside one live allocation; the advice changes no contents. Its failure changes nothing.
            unsafe {
                libc::madvise(values.as_ptr().with_addr(first).cast_mut().cast(), end - first, libc::MADV_HUGEPAGE);
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
}

/// An array of `values` in C order.
///
/// # Panics
/// Where `shape` has another number of elements: callers build `values` from it.
pub(crate) fn in_shape<T, D: Dimension>(shape: D, values: Vec<T>) -> Array<T, D> {
    Array::from_shape_vec(shape, values).expect("one value for each element of the shape")
}

fn system() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    mem_available(&text)
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Limit less usage, from the mounts a container sees: version 2 first, then version 1. Usage counts
/// the page cache, which gives way: it is taken off.
fn control_group() -> Option<u64> {
    let groups = [
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ];
    groups.into_iter().find_map(|(folder, limit, usage)| {
        let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).ok();
        // A version 2 group without a limit says `max`, which is no number.
        let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
        let used = number(usage)?.saturating_sub(page_cache(&read("memory.stat")?));
        Some(number(limit)?.saturating_sub(used))
    })
}

fn page_cache(memory_stat: &str) -> u64 {
    let lines = memory_stat.lines().filter_map(|line| line.split_once(' '));
    let cached = lines.filter(|(name, _)| matches!(*name, "inactive_file" | "active_file"));
    cached.filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(mem_available(text), Some(23_000_000 * 1024));
        assert_eq!(mem_available("MemTotal: 1 kB\n"), None);
        assert_eq!(mem_available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn the_page_cache_gives_way() {
        let text = "anon 5\nfile 100\ninactive_file 60\nactive_file 30\nslab 7\n";
        assert_eq!(page_cache(text), 90);
        assert_eq!(page_cache("garbage\ninactive_file x\n"), 0);
    }

    #[test]
    fn absurd_sizes_are_errors() {
        for len in [usize::MAX, isize::MAX as usize / 8, 1 << 50] {
            let refused = try_filled("a test's vector", len, 0f64).unwrap_err();
            let Error::Memory { what, needed, .. } = refused else { panic!("{refused}") };
            assert_eq!(what, "a test's vector");
            assert_eq!(needed, (len as u64).saturating_mul(8));
        }
        assert_eq!(try_filled("three", 3, 1u8).unwrap(), [1, 1, 1]);
    }
}
