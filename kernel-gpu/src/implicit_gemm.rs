//! The direct way on the tensor cores: the convolution as products of rows and taps, reduced to squares and never stored.
//!
//! ```text
//! z[b,c,p] = Σ_k Σ_ci x[b,ci,source(p, k)] · w[ci,c,k]            over the taps of p's phase
//! mean[b,c,i], M2[b,c,i] = s·m[b,c], s²·Σ (z − m[b,c])² over tile i        m: the mean of all of (b, c), known before
//! ```
//!
//! Squares about the same m add up: merging such slices gives the row's mean and M2. Positions that no tap is for are tile 0's, z = 0.
//!
//! **Data flow.** A block of four warps makes tiles of 128 rows (positions, or positions and images, [`phased_conv`](crate::phased_conv))
//! by 64 or 32 output channels. Factors and their scales are made before by [`channels_last`](crate::channels_last) and
//! [`split_taps`](crate::split_taps). [`implicit_gemm_stage`](crate::implicit_gemm_stage) says what a tile multiplies, taps that no position of it
//! meets left out, [`implicit_gemm_schedule`](crate::implicit_gemm_schedule) when each is asked for, and
//! [`implicit_gemm_copies`](crate::implicit_gemm_copies) brings it; [`implicit_gemm_products`](crate::implicit_gemm_products) makes z of it, and
//! [`implicit_gemm_moments`](crate::implicit_gemm_moments) reduces that.
//!
//! **Accumulation.** z over a step by the tensor cores, over steps in f32. Squares: f32 over a thread's rows, then f64.
//!
//! **Cost.** 2·3 (f32) or 2 flop a (row, tap, channel, output channel). A step's shared memory is 64 rows of taps and 128 of the window once a line.
//!
//! **Launch.** One dimension, a block an item.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::ElementType;
use crate::implicit_gemm_copies::THREADS;
use crate::implicit_gemm_schedule::Buffers;
use crate::phased_conv::PhasedConv;
use crate::work::Work;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ImplicitGemm {
    /// x as [`channels_last`](crate::channels_last) wrote it.
    pub rows: Global<u32>,
    /// w as [`split_taps`](crate::split_taps) wrote it.
    pub taps: Global<u32>,
    /// g of each c.
    pub channel_exponent: Global<i32>,
    /// m: the mean of z a (b, c).
    pub conv_mean: Global<f64>,
    /// Out: s·m a (b, c, slice).
    pub mean: GlobalMut<f64>,
    /// Out: s²·Σ(z − m)² a (b, c, slice).
    pub m2: GlobalMut<f64>,
    /// s.
    pub scale: f64,
    /// Positions that no tap is for.
    pub unreached: u64,
    /// The convolution.
    pub conv: PhasedConv,
    /// Its division among blocks: a tile a slice, tiles of channels of all groups, `images` images a batch.
    pub work: Work,
}

/// One compiled form of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its launch, of whose shared memory warpgroups need [more](Form::shared_bytes).
    pub spec: KernelSpec,
    /// Output channels of a tile.
    pub columns: u32,
    /// The tensors' format.
    pub element: ElementType,
}

const fn form(name: &'static str, columns: u32, element: ElementType) -> Form {
    let min_blocks = if columns == 64 { 2 } else { 3 };
    let shared_bytes = Buffers::new(columns, false).bytes();
    Form { spec: KernelSpec { name, threads: THREADS, min_blocks, shared_bytes }, columns, element }
}

/// All forms.
pub const FORMS: [Form; 6] = [
    form("implicit_gemm_f32_wide", 64, ElementType::F32),
    form("implicit_gemm_f32_narrow", 32, ElementType::F32),
    form("implicit_gemm_f16_wide", 64, ElementType::F16),
    form("implicit_gemm_f16_narrow", 32, ElementType::F16),
    form("implicit_gemm_bf16_wide", 64, ElementType::Bf16),
    form("implicit_gemm_bf16_narrow", 32, ElementType::Bf16),
];

impl Form {
    /// The index in [`FORMS`] of the form for tensors in a format of up to 32 bits and `channels` output channels a group.
    pub fn index_for(element: ElementType, channels: u32) -> usize {
        let of = |form: &Form| form.element == element && (form.columns == 32) == (channels <= 32);
        FORMS.iter().position(of).unwrap_or(0)
    }

    /// Bytes of shared memory of a launch whose products are of warpgroups, or not.
    pub const fn shared_bytes(&self, warpgroups: bool) -> u32 {
        Buffers::new(self.columns, warpgroups).bytes()
    }

    /// How a convolution is divided into items: a tile each.
    pub fn work(&self, conv: &PhasedConv) -> Work {
        let tiles = conv.out_channels.div_ceil(self.columns) * conv.options.groups;
        Work::split(u64::from(conv.tiles()), 1, tiles, conv.shape.batch.div_ceil(conv.images), u64::MAX)
    }
}

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::thread::block_idx_x;
    use cuda_std::wgmma;

    use super::*;
    use crate::factors::device::{Bfloat, Factors, Half, Split};
    use crate::implicit_gemm_moments::device::store_moments;
    use crate::implicit_gemm_products::device::products;
    use crate::implicit_gemm_stage::device::Tile;
    use crate::opaque::opaque;

    macro_rules! form {
        ($name:ident, $factors:ty, $columns:literal, $min_blocks:literal) => {
            /// See the module.
            ///
            /// # Safety
            /// Each pointer holds what its field says; nobody else accesses `mean` and `m2`; the launch is as the form's
            /// spec says, with the shared memory that the form says.
            #[kernel(max_threads = 128, min_blocks = $min_blocks)]
            pub unsafe fn $name(p: ImplicitGemm) {
                // SAFETY: the caller's promise.
                unsafe {
                    if wgmma::is_available() {
                        run::<$factors, $columns, true>(&p)
                    } else {
                        run::<$factors, $columns, false>(&p)
                    }
                }
            }
        };
    }
    form!(implicit_gemm_f32_wide, Split, 64, 2);
    form!(implicit_gemm_f32_narrow, Split, 32, 3);
    form!(implicit_gemm_f16_wide, Half, 64, 2);
    form!(implicit_gemm_f16_narrow, Half, 32, 3);
    form!(implicit_gemm_bf16_wide, Bfloat, 64, 2);
    form!(implicit_gemm_bf16_narrow, Bfloat, 32, 3);

    /// Makes the block's tile of `COLUMNS` output channels, by warpgroups with `GROUP`.
    ///
    /// # Safety
    /// As the kernel's.
    #[inline(always)]
    unsafe fn run<F: Factors, const COLUMNS: u32, const GROUP: bool>(p: &ImplicitGemm) {
        // Found anew behind the products, and not kept meanwhile: they need the registers.
        let tile = || Tile::new(p, opaque(block_idx_x()), COLUMNS);
        // SAFETY: the caller's promise; the item is this block's. All copies have arrived with the last step.
        unsafe {
            let sums = products::<F, COLUMNS, GROUP>(p, &tile());
            store_moments::<COLUMNS, GROUP>(p, &tile(), &sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit() {
        for form in FORMS {
            for (warpgroups, most) in [(false, 164), (true, 228)] {
                let bytes = form.shared_bytes(warpgroups);
                assert!(form.spec.min_blocks * (bytes + 1024) <= most * 1024, "{form:?}");
            }
            assert_eq!(form.shared_bytes(false), form.spec.shared_bytes);
        }
    }
}
