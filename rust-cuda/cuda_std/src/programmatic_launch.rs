//! Grids that begin before the one ahead of them in the stream has ended: programmatic dependent launch (PTX ISA, "Parallel
//! Synchronization and Communication Instructions: griddepcontrol"; CUDA C++ Programming Guide, "Programmatic Dependent Launch and
//! Synchronization").
//!
//! Between two grids of a stream a GPU stands idle for a microsecond or two: the last blocks end, memory is flushed, the next
//! grid's code and parameters are fetched. A launch with the attribute `programmaticStreamSerialization` may send blocks as soon as all
//! blocks of the grid ahead have said so, or ended, and there is room for them; what they may read is theirs to wait for.
//!
//! `#[kernel]` puts [`begin`] first in every kernel, so that **each block waits for all of the grids ahead before it does anything**:
//! with the attribute or without, a kernel sees what the ones before it wrote, and nothing it does can come too early. What
//! is saved is the way to the first instruction.
//!
//! Targets: `sm_90` and up, PTX 7.8. In code for less it is nothing at all, so such code must be launched without the attribute.

/// Waits until the grids ahead have ended and all that they wrote is there, then lets the next grid's blocks in as far as there is room.
#[inline(always)]
pub fn begin() {
    #[cfg(all(target_arch = "nvptx64", target_feature = "sm_90"))]
    // SAFETY: a wait, and a hint; without `nomem` the compiler moves no memory access across them.
    unsafe {
        core::arch::asm!("griddepcontrol.wait;", "griddepcontrol.launch_dependents;", options(nostack));
    }
}
