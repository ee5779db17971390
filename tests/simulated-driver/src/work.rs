//! What a stream does: at once, or when a graph that captured it is launched.

use std::collections::BTreeMap;
use std::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use std::time::Instant;

use cuda_std::launch::KernelSpec;
use cuda_std::simt::{Finding, FindingKind, Grid, Memory, Schedule};
use kernel_gpu::entries::Entry;

use crate::context::Event;
use crate::state::{Code, ILLEGAL_ADDRESS, INVALID_VALUE, LAUNCH_FAILED, MISALIGNED_ADDRESS};

/// One piece of work.
#[derive(Clone)]
pub(crate) enum Work {
    /// Bytes from one end to another.
    Copy { to: End, from: End, bytes: usize },
    /// Bytes of one value.
    Fill { address: u64, byte: u8, bytes: usize },
    /// The time of an event; `ticket` tells its records apart, the later the higher.
    Record { event: usize, ticket: usize },
    /// Until another stream has recorded that ticket.
    Wait { stream: usize, ticket: usize },
    /// A kernel, with a copy of its parameter block.
    Launch(Launch),
}

/// Where a copy begins or ends.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// An address of the host.
    Host(u64),
    /// An address in an allocation of the device.
    Device(u64),
}

impl End {
    /// The address, if `bytes` bytes may be copied there now: a graph may be launched after its memory was freed.
    pub(crate) fn address(self, bytes: usize, memory: &Memory) -> Result<u64, Code> {
        match self {
            Self::Host(0) if bytes > 0 => Err(INVALID_VALUE),
            Self::Device(address) if !memory.contains(address, bytes as u64) => Err(INVALID_VALUE),
            Self::Host(address) | Self::Device(address) => Ok(address),
        }
    }
}

/// A launch as it was asked for.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) entry: &'static Entry,
    pub(crate) warpgroups: bool,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared_bytes: u32,
    pub(crate) parameters: Vec<u8>,
}

/// How work fails.
pub(crate) enum Failure {
    /// The call says so, and nothing else is touched.
    Refused(Code),
    /// The context is lost; later calls say so.
    Lost(Code),
}

/// Does one piece of work. What the executor finds is added to `findings`.
///
/// # Safety
/// Addresses of the host in it are valid for its bytes.
pub(crate) unsafe fn perform(
    work: &Work,
    memory: &Memory,
    events: &mut BTreeMap<usize, Event>,
    schedule: Schedule,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    match work {
        &Work::Copy { to, from, bytes } => {
            let address = |end: End| end.address(bytes, memory).map_err(|_| Failure::Lost(ILLEGAL_ADDRESS));
            let (to, from) = (address(to)? as usize, address(from)? as usize);
            let (to, from) = (with_exposed_provenance_mut::<u8>(to), with_exposed_provenance(from));
            // SAFETY: device addresses lie in allocations (checked just now); those of the host are the caller's promise.
            // `copy`, for ranges may overlap.
            unsafe { std::ptr::copy::<u8>(from, to, bytes) };
            Ok(())
        }
        &Work::Fill { address, byte, bytes } => {
            if !memory.contains(address, bytes as u64) {
                return Err(Failure::Lost(ILLEGAL_ADDRESS));
            }
            // SAFETY: the bytes lie in an allocation (checked just now).
            unsafe { with_exposed_provenance_mut::<u8>(address as usize).write_bytes(byte, bytes) };
            Ok(())
        }
        Work::Record { event, .. } => {
            if let Some(recorded) = events.get_mut(event) {
                recorded.time = Some(Instant::now());
            }
            Ok(())
        }
        // Whoever has the streams does that.
        Work::Wait { .. } => Ok(()),
        Work::Launch(launch) => run(launch, memory, schedule, findings),
    }
}

fn run(launch: &Launch, memory: &Memory, schedule: Schedule, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let Launch { entry, warpgroups, grid, block, shared_bytes, parameters } = launch;
    let (most, asked) = (entry.spec.threads, block[0]);
    let fewer = entry.fewer_threads && asked < most && asked.is_multiple_of(32);
    let spec = KernelSpec { threads: if fewer { asked } else { most }, ..entry.spec };
    let grid = Grid::with_dimensions(spec.name, *grid, *block).shared_bytes(*shared_bytes).spec(spec);
    let grid = if *warpgroups { grid.warpgroups() } else { grid };
    // SAFETY: a copy of what the host passed for this kernel, as long as its parameter block. Where the kernel's contract
    // does not hold, the executor refuses the access and reports it.
    let report = grid.schedule(schedule).run(memory, || unsafe { (entry.run)(parameters.as_ptr()) });
    let failure = report.findings.first().map(|finding| match finding.kind {
        FindingKind::Launch { .. } => Failure::Refused(INVALID_VALUE),
        FindingKind::OutOfBounds { .. } => Failure::Lost(ILLEGAL_ADDRESS),
        FindingKind::Misaligned { .. } => Failure::Lost(MISALIGNED_ADDRESS),
        _ => Failure::Lost(LAUNCH_FAILED),
    });
    findings.extend(report.findings);
    failure.map_or(Ok(()), Err)
}
