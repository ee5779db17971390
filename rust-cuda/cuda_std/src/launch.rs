//! What a kernel asks of its launch, as plain data that host, device and tests share.

/// A kernel's entry and the geometry its code is written for.
///
/// `threads` and `min_blocks` reach the PTX as `.maxntid` and `.minnctapersm` through `#[kernel]`; `shared_bytes` is given
/// at the launch. Stating them once, here, lets the host check them and a test compare them with the built PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSpec {
    /// The `.entry` name.
    pub name: &'static str,
    /// Threads of a block: exactly as many as the code assumes.
    pub threads: u32,
    /// Blocks that should fit on one multiprocessor at once: the compiler's register budget follows.
    pub min_blocks: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
}
