//! Batch statistics, running statistics and the pooled, normalised output, from the moments of each (b, c).
//!
//! ```text
//! m[b,c] = mean of s·convT(x, w) over the positions;   bias enters as s·conv_bias[c]
//! μ[c], σ²[c] = mean and M2/(B·P) of the merge over b                       batch statistics (μ without the bias)
//! training, or no running statistics:  out[b,c] = γ·(m − μ)/√(σ² + ε) + β    the bias cancels, exactly
//! eval:                                out[b,c] = γ·(m + s·conv_bias − running_mean)/√(running_var + ε) + β
//! running_mean ← (1−f)·running_mean + f·(μ + s·conv_bias)
//! running_var  ← (1−f)·running_var  + f·M2/(B·P − 1)                        in training, with factor f
//! ```
//!
//! and 1/√(0 + 0) counts as 0. Where a mean is not finite, σ² is NaN; it is ±∞ or NaN as by the definition, see
//! [`infinities`](crate::infinities). One warp a channel: lane l merges images l, l + 32, … in order, the lanes merge as a tree,
//! then they write the outputs. All f64; the output and the running statistics are rounded once.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::{Tensor, TensorMut};
use crate::infinities::Operands;

/// The parameters. Every optional pointer may be null.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PoolFinish<T> {
    /// The mean a (b, c), without bias; made NaN where infinite taps cancel.
    pub mean: GlobalMut<f64>,
    /// M2 a (b, c).
    pub m2: Global<f64>,
    /// What the means are made of.
    pub operands: Operands<T>,
    /// conv_bias (Cout), or null for 0.
    pub conv_bias: Tensor<T>,
    /// γ (Cout), or null for 1.
    pub bn_weight: Global<T>,
    /// β (Cout), or null for 0.
    pub bn_bias: Global<T>,
    /// running_mean (Cout), or null; written where `update_running` is set.
    pub running_mean: GlobalMut<T>,
    /// running_var (Cout), or null, as `running_mean`.
    pub running_var: GlobalMut<T>,
    /// Out: (B, Cout).
    pub output: TensorMut,
    /// Out: the batch mean of the scaled convolution, bias included (Cout).
    pub batch_mean: GlobalMut<f64>,
    /// Out: its biased batch variance (Cout).
    pub batch_var: GlobalMut<f64>,
    /// P.
    pub positions: u64,
    /// s.
    pub scale: f64,
    /// ε.
    pub eps: f64,
    /// f, the share of the batch in the updated running statistics.
    pub factor: f64,
    /// B.
    pub batch: u32,
    /// Cout.
    pub channels: u32,
    /// 1: normalise by the running statistics (eval); 0: by the batch's.
    pub normalize_by_running: u32,
    /// 1: update the running statistics (training with them).
    pub update_running: u32,
}

const fn spec(name: &'static str) -> KernelSpec {
    KernelSpec { name, threads: 32, min_blocks: 4, shared_bytes: 0 }
}
/// The launch for f32: one warp a block, any number of blocks.
pub const SPEC_F32: KernelSpec = spec("pool_finish_f32");
/// The launch for f64.
pub const SPEC_F64: KernelSpec = spec("pool_finish_f64");

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::kernel;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index};
    use cuda_std::warp::broadcast;

    use super::*;
    use crate::element::Value;
    use crate::infinities::device::settle_infinite_taps;
    use crate::moments::Moments;

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says, or is null where that is allowed; nobody else accesses the outputs; the
    /// launch is as [`SPEC_F32`] says.
    #[kernel(max_threads = 32, min_blocks = 4)]
    pub unsafe fn pool_finish_f32(parameters: PoolFinish<f32>) {
        // SAFETY: the caller's promise.
        unsafe { pool_finish(&parameters) }
    }

    /// See the module.
    ///
    /// # Safety
    /// As [`pool_finish_f32`].
    #[kernel(max_threads = 32, min_blocks = 4)]
    pub unsafe fn pool_finish_f64(parameters: PoolFinish<f64>) {
        // SAFETY: the caller's promise.
        unsafe { pool_finish(&parameters) }
    }

    #[inline(always)]
    unsafe fn pool_finish<T: Value>(p: &PoolFinish<T>) {
        let mut channel = block_idx_x();
        while channel < p.channels {
            // SAFETY: an element of `mean` and of `m2`, for finish_channel asks for those of its channel.
            let moments = |at| unsafe { (p.mean.load(at), p.m2.load(at)) };
            // SAFETY: channel < Cout, and this warp owns it; lanes read what is theirs.
            unsafe { finish_channel::<_, false>(p, channel, moments) };
            channel += grid_dim_x();
        }
    }

    /// One channel, by one warp; `row_moments` gives the mean and M2 of (b, c), element b·Cout + c of theirs, to lane b mod 32.
    ///
    /// # Safety
    /// As the kernel, but `m2` is not read here, and only that lane has accessed element (b, c) of `mean`, which holds what it
    /// gives; channel < Cout, all lanes come together, and nobody else finishes it;
    /// `WHOLE` is whether every tap carries all of its input channel.
    #[inline(always)]
    pub(crate) unsafe fn finish_channel<T: Value, const WHOLE: bool>(
        p: &PoolFinish<T>,
        channel: u32,
        row_moments: impl Fn(u64) -> (f64, f64),
    ) {
        let (c, lane) = (channel as u64, lane_index());
        let at = |b: u32| b as u64 * p.channels as u64 + c;
        let optional = |pointer: Global<T>, otherwise: f64| {
            // SAFETY: not null, so it holds Cout elements.
            if pointer.is_null() { otherwise } else { unsafe { pointer.load(c) }.to_f64() }
        };

        // All loads before any of them is waited for: a channel is mostly latency.
        let (weight, shift) = (optional(p.bn_weight, 1.0), optional(p.bn_bias, 0.0));
        let (mut running_mean, mut running_var) = (0.0, 0.0);
        if p.normalize_by_running != 0 || (p.update_running != 0 && lane == 0) {
            // SAFETY: the host sets these flags only with running statistics, of Cout elements each, and not both flags.
            let (mean, var) = unsafe { (p.running_mean.load(c), p.running_var.load(c)) };
            (running_mean, running_var) = (mean.to_f64(), var.to_f64());
        }
        // SAFETY: as above.
        let bias = if p.conv_bias.is_null() { 0.0 } else { unsafe { p.conv_bias.load(c) }.to_f64() };
        let bias = p.scale * bias;

        let mut settled = false;
        let moments_of = |settled: bool, at| {
            let (mean, m2) = row_moments(at);
            // SAFETY: this lane's, for all that is asked for is.
            (if settled { unsafe { p.mean.load(at) } } else { mean }, m2)
        };
        let Moments { count, mean: mu, m2 } = loop {
            let moments = merge_rows(p, at, |at| moments_of(settled, at));
            // The same in all lanes.
            if settled || (moments.mean.is_finite() && moments.m2.is_finite()) {
                break moments;
            }
            // SAFETY: the caller's promise; all lanes come here.
            unsafe { settle_infinite_taps::<_, WHOLE>(&p.operands, channel, p.mean) };
            settled = true;
        };
        // What rounding left of a sum of 0, if phases are counted longer than they are.
        let m2 = if m2 < 0.0 { 0.0 } else { m2 };
        let variance = m2 / count;
        // 0; NaN where the bias is not finite, which then is in every z, or the mean is not, which some z then is like.
        let cancelled = bias * 0.0 + mu * 0.0;
        let variance = variance + cancelled;

        let (mut center, mut spread) = (mu, variance);
        if p.normalize_by_running != 0 {
            (center, spread) = (running_mean - bias, running_var);
        }
        let root = (spread + p.eps).sqrt();
        let inverse = if root == 0.0 { 0.0 } else { 1.0 / root };
        let gain = weight * inverse;
        let mut b = lane;
        while b < p.batch {
            let (m, _) = moments_of(settled, at(b));
            // SAFETY: b < B and c < Cout; each output has one writer.
            unsafe { p.output.store(at(b), (m - center).fma(gain, shift)) };
            b += 32;
        }
        if lane == 0 {
            // SAFETY: one lane a channel; where the running statistics are written, this lane alone has read them.
            unsafe {
                p.batch_mean.store(c, mu + bias);
                p.batch_var.store(c, variance);
                if p.update_running != 0 {
                    let keep = 1.0 - p.factor;
                    p.running_mean.store(c, T::from_f64(keep * running_mean + p.factor * (mu + bias)));
                    p.running_var
                        .store(c, T::from_f64(keep * running_var + p.factor * (m2 / (count - 1.0) + cancelled)));
                }
            }
        }
    }

    /// The moments of all images together, in every lane.
    #[inline(always)]
    fn merge_rows<T>(p: &PoolFinish<T>, at: impl Fn(u32) -> u64, row_moments: impl Fn(u64) -> (f64, f64)) -> Moments {
        let mut moments = Moments::EMPTY;
        let mut b = lane_index();
        while b < p.batch {
            let (mean, m2) = row_moments(at(b));
            moments = moments.merge(Moments { count: p.positions as f64, mean, m2 });
            b += 32;
        }
        let Moments { count, mean, m2 } = moments.merge_warp();
        Moments { count: broadcast(count, 0), mean: broadcast(mean, 0), m2: broadcast(m2, 0) }
    }
}
