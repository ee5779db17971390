//! The definition, in f64 and without any of the kernels' own maps.

use crate::case::{Case, Normalize};
use crate::launch::Channels;

/// z of every (b, c), and how large the sums behind it are.
pub struct Convolution {
    /// s·convT(x, w), (B, Cout, P).
    pub z: Vec<f64>,
    /// The largest |s|·Σ|w·x| of each (b, c): what rounding errors are relative to.
    pub size: Vec<f64>,
}

/// Scatters every element of x over the positions that it comes to: i·stride + k·dilation − padding.
pub fn convolve(case: &Case, x: &[f64], w: &[f64]) -> Convolution {
    let (shape, options, scale) = (&case.shape, &case.options, case.scale);
    let [d, h, v] = shape.input.map(|n| n as usize);
    let [kd, kh, kw] = shape.kernel.map(|n| n as usize);
    let n = options.output.map(|n| n as usize);
    let groups = options.groups as usize;
    let (cin, cout) = (shape.in_channels as usize, shape.out_channels as usize);
    let (ins, outs) = (cin / groups, cout / groups);
    let rows = shape.batch as usize * cout;
    let mut z = vec![0.0; rows * n[0] * n[1] * n[2]];
    let mut sizes = z.clone();
    for row in 0..rows {
        let (b, c) = (row / cout, row % cout);
        for ci in c / outs * ins..(c / outs + 1) * ins {
            for (i, x) in x[(b * cin + ci) * d * h * v..][..d * h * v].iter().enumerate() {
                let i = [i / (h * v), i / v % h, i % v];
                for (k, w) in w[(ci * outs + c % outs) * kd * kh * kw..][..kd * kh * kw].iter().enumerate() {
                    let k = [k / (kh * kw), k / kw % kh, k % kw];
                    let at = |a: usize| {
                        let reach = i[a] * options.stride[a] as usize + k[a] * options.dilation[a] as usize;
                        reach.checked_sub(options.padding[a] as usize).filter(|&p| p < n[a])
                    };
                    if let (Some(p0), Some(p1), Some(p2)) = (at(0), at(1), at(2)) {
                        let p = ((row * n[0] + p0) * n[1] + p1) * n[2] + p2;
                        z[p] += scale * w * x;
                        sizes[p] += (scale * w * x).abs();
                    }
                }
            }
        }
    }
    let size = sizes.chunks(n[0] * n[1] * n[2]).map(|row| row.iter().fold(0.0, |a: f64, &b| a.max(b))).collect();
    Convolution { z, size }
}

/// Mean and Σ(z − mean)².
pub fn moments(z: &[f64]) -> (f64, f64) {
    let mean = z.iter().sum::<f64>() / z.len() as f64;
    // The second pass takes off what rounding left in the first.
    let mean = mean + z.iter().map(|z| z - mean).sum::<f64>() / z.len() as f64;
    (mean, z.iter().map(|z| (z - mean) * (z - mean)).sum())
}

/// The moments of sets together: each is (count, mean, M2).
pub fn merge(parts: &[(f64, f64, f64)]) -> (f64, f64, f64) {
    let count = parts.iter().map(|part| part.0).sum::<f64>();
    let mean = parts.iter().map(|part| part.0 * part.1).sum::<f64>() / count;
    let mean = mean + parts.iter().map(|part| part.0 * (part.1 - mean)).sum::<f64>() / count;
    (count, mean, parts.iter().map(|part| part.2 + part.0 * (part.1 - mean).powi(2)).sum())
}

/// What `pool_finish` should give, all in f64.
pub struct Finished {
    /// (B, Cout), each with what its rounding errors are relative to.
    pub output: Vec<(f64, f64)>,
    pub batch_mean: Vec<f64>,
    pub batch_var: Vec<f64>,
    pub running_mean: Vec<f64>,
    pub running_var: Vec<f64>,
}

/// Batch norm and pooling, from the moments of each (b, c) and the per-channel tensors.
pub fn finish(case: &Case, mean: &[f64], m2: &[f64], channels: &Channels<f64>) -> Finished {
    let (batch, cout) = (case.shape.batch as usize, case.shape.out_channels as usize);
    let positions = case.options.positions() as f64;
    let affine = case.normalize != Normalize::NoAffine;
    let mut out = Finished {
        output: vec![(0.0, 0.0); batch * cout],
        batch_mean: vec![0.0; cout],
        batch_var: vec![0.0; cout],
        running_mean: channels.running_mean.clone(),
        running_var: channels.running_var.clone(),
    };
    for c in 0..cout {
        let (gamma, beta) = if affine { (channels.gamma[c], channels.beta[c]) } else { (1.0, 0.0) };
        let bias = case.scale * channels.conv_bias[c];
        let parts: Vec<_> = (0..batch).map(|b| (positions, mean[b * cout + c], m2[b * cout + c])).collect();
        let (count, mu, m2) = merge(&parts);
        let variance = m2 / count;
        (out.batch_mean[c], out.batch_var[c]) = (mu + bias, variance);
        let (center, spread) = match case.normalize {
            Normalize::Eval => (channels.running_mean[c] - bias, channels.running_var[c]),
            _ => (mu, variance),
        };
        let root = (spread + case.eps).sqrt();
        let gain = if root == 0.0 { 0.0 } else { gamma / root };
        for b in 0..batch {
            let m = mean[b * cout + c];
            let size = gain.abs() * (m.abs() + center.abs()) + beta.abs();
            out.output[b * cout + c] = (gain * (m - center) + beta, size);
        }
        if matches!(case.normalize, Normalize::Train | Normalize::NoAffine) {
            let keep = 1.0 - case.factor;
            out.running_mean[c] = keep * out.running_mean[c] + case.factor * (mu + bias);
            out.running_var[c] = keep * out.running_var[c] + case.factor * m2 / (count - 1.0);
        }
    }
    out
}
