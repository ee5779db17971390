//! The definition, in f64.

use kernel_gpu::spectrum::Spectrum;

/// A complex number.
pub type Complex = (f64, f64);

/// The transform of one volume by (fo, fr, fp), fr ≤ N1/2, each axis about half of `twice`.
pub fn transform(spectrum: &Spectrum, x: &[f32], twice: [u32; 3]) -> Vec<Complex> {
    let (input, n) = (spectrum.shape.input, spectrum.n());
    let extents = |a: [u32; 3]| a.map(|extent| extent as usize);
    let (d, n) = (extents(input), extents(n));
    let half = spectrum.half() as usize;
    let x: Vec<Complex> = x.iter().map(|&value| (f64::from(value), 0.0)).collect();
    let twice = extents(twice);
    let x = axis(&x, (d[0] * d[1], d[2], 1), (n[2], n[2]), twice[2]);
    let x = axis(&x, (d[0], d[1], n[2]), (n[1], half), twice[1]);
    axis(&x, (1, d[0], half * n[2]), (n[0], n[0]), twice[0])
}

/// The first `count` frequencies of length `n` along the middle one of three axes.
fn axis(
    x: &[Complex],
    (outer, length, inner): (usize, usize, usize),
    (n, count): (usize, usize),
    twice: usize,
) -> Vec<Complex> {
    let mut out = vec![(0.0, 0.0); outer * count * inner];
    for o in 0..outer {
        for f in 0..count {
            for k in 0..length {
                // Past the middle f stands for f − N, which matters where the origin lies between elements.
                let signed = if 2 * f > n { f + n } else { f };
                let half_turns = (signed * (2 * k + 2 * n - twice)) % (2 * n);
                let (sin, cos) = (-std::f64::consts::PI * half_turns as f64 / n as f64).sin_cos();
                for i in 0..inner {
                    let (re, im) = x[(o * length + k) * inner + i];
                    let out = &mut out[(o * count + f) * inner + i];
                    *out = (out.0 + re * cos - im * sin, out.1 + re * sin + im * cos);
                }
            }
        }
    }
    out
}
