//! Every kernel with its launch, its input and what it must write: what a test runs, in the executor and on a GPU.

use cuda_std::launch::KernelSpec;

use crate::*;

/// What every word of the output is before the launch.
pub const BEFORE: u32 = 0x5eed_5eed;

/// A kernel and one launch of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, threads and shared memory.
    pub spec: KernelSpec,
    /// Blocks (x, y, z).
    pub grid: [u32; 3],
    /// Threads of a block (x, y, z).
    pub block: [u32; 3],
    /// Ten times the compute capability of its newest operation: 80 or 90.
    pub capability: u32,
    /// The input.
    pub input: Vec<u32>,
    /// Words of output.
    pub output_words: usize,
    /// What the output must be, where a formula is shorter than the operation.
    pub expected: Option<Vec<u32>>,
    /// When two outputs agree.
    pub agreement: Agreement,
    /// Runs one thread of it, inside a running grid.
    pub run: unsafe fn(Conformance),
}

/// When two outputs agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Every bit is the same.
    Bits,
    /// Each word, an f32, is within so many units in the last place.
    F32 {
        /// How many.
        ulps: u32,
    },
    /// Each two words, an f64, agree to so many bits.
    F64 {
        /// How many.
        bits: i32,
    },
}

impl Agreement {
    /// The first word at which two outputs do not agree; also where one is longer.
    pub fn difference(self, a: &[u32], b: &[u32]) -> Option<usize> {
        let first = |words: usize, agree: &dyn Fn(&[u32], &[u32]) -> bool| {
            let differs = a.chunks(words).zip(b.chunks(words)).position(|(a, b)| !agree(a, b));
            differs.map(|chunk| chunk * words).or((a.len() != b.len()).then_some(a.len().min(b.len())))
        };
        match self {
            Self::Bits => first(1, &|a, b| a == b),
            Self::F32 { ulps } => first(1, &|a, b| {
                let [a, b] = [a, b].map(|word| f32::from_bits(word[0]));
                a == b || a.is_nan() && b.is_nan() || ordered(a).abs_diff(ordered(b)) <= ulps && (a + b).is_finite()
            }),
            Self::F64 { bits } => first(2, &|a, b| {
                let [a, b] = [a, b].map(|words| f64::from_bits(join(words)));
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= a.abs().min(b.abs()) * 2f64.powi(-bits)
            }),
        }
    }
}

/// The number of an f32 in their order.
fn ordered(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    if bits < 0 { i32::MIN.wrapping_sub(bits) } else { bits }
}

/// Two words as one, the lower first.
pub(crate) fn join(words: &[u32]) -> u64 {
    words.iter().rev().fold(0, |all, &word| all << 32 | u64::from(word))
}

/// One word as two, the lower first.
pub(crate) fn split(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// All kernels.
pub fn entries() -> Vec<Entry> {
    [
        indices::entries(),
        barriers::entries(),
        shuffles::entries(),
        votes::entries(),
        memory::entries(),
        atomics::entries(),
        arithmetic::entries(),
        conversions::entries(),
        products::entries(),
        matrices::entries(),
        copies::entries(),
        mbarriers::entries(),
        bulk_copies::entries(),
        warpgroups::entries(),
    ]
    .concat()
}

impl Entry {
    /// One block of `threads` threads that each write `words` words, with operations of compute capability 8.0.
    pub(crate) fn new(name: &'static str, threads: u32, words: u32, run: unsafe fn(Conformance)) -> Self {
        Self {
            spec: KernelSpec { name, threads, min_blocks: 1, shared_bytes: 0 },
            grid: [1; 3],
            block: [threads, 1, 1],
            capability: 80,
            input: Vec::new(),
            output_words: (threads * words) as usize,
            expected: None,
            agreement: Agreement::Bits,
            run,
        }
    }

    pub(crate) fn blocks(self, grid: [u32; 3]) -> Self {
        let output_words = self.output_words * grid.iter().product::<u32>() as usize;
        Self { grid, output_words, ..self }
    }

    pub(crate) fn shared(mut self, bytes: u32) -> Self {
        self.spec.shared_bytes = bytes;
        self
    }

    pub(crate) fn input(self, input: Vec<u32>) -> Self {
        Self { input, ..self }
    }

    pub(crate) fn expected(self, expected: Vec<u32>) -> Self {
        Self { expected: Some(expected), ..self }
    }
}

/// `count` words of all kinds, the same for the same seed.
pub(crate) fn draw(seed: u64, count: usize) -> Vec<u32> {
    // splitmix64.
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 32) as u32
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unlike_and_launches_whole() {
        let all = entries();
        for (i, entry) in all.iter().enumerate() {
            let name = entry.spec.name;
            assert!(all[..i].iter().all(|other| other.spec.name != name), "{name} twice");
            assert_eq!(entry.block.iter().product::<u32>(), entry.spec.threads, "{name}");
            if let Some(expected) = &entry.expected {
                assert_eq!(expected.len(), entry.output_words, "{name}");
            }
        }
    }

    #[test]
    fn outputs_agree_within_what_is_said_and_no_further() {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let one = f32::to_bits(1.0);
        assert_eq!(Agreement::Bits.difference(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(Agreement::Bits.difference(&[1, 2, 3], &[1, 0, 3]), Some(1));
        assert_eq!(Agreement::Bits.difference(&[1, 2], &[1, 2, 3]), Some(2));
        let near = Agreement::F32 { ulps: 2 };
        assert_eq!(near.difference(&[one, one], &[one + 2, one - 2]), None);
        assert_eq!(near.difference(&[one, one], &[one + 2, one - 3]), Some(1));
        assert_eq!(near.difference(&bits(&[0.0, f32::NAN]), &[0x8000_0001, 0xffff_ffff]), None);
        assert_eq!(near.difference(&bits(&[f32::MAX]), &bits(&[f32::INFINITY])), Some(0));
        let far = Agreement::F64 { bits: 20 };
        let pair = |value: f64| split(value.to_bits());
        assert_eq!(far.difference(&pair(1.0), &pair(1.0 + 1e-7)), None);
        assert_eq!(far.difference(&pair(1.0), &pair(1.0 + 1e-5)), Some(0));
        assert_eq!(far.difference(&pair(1.0), &pair(f64::INFINITY)), Some(0));
    }
}
