"""What rounding does to the spectral way: the errors that docs/spectral.md tells of. Needs NumPy alone.

    python3 rounding.py

The steps and the precision are the kernels': the spectra in f16 words, one or two as a column says, products of two low words
left out; the transform, the sums along a line, the way to the grid, the taps' spectrum and the products with it in f32, by
NumPy's matrix products (whose order of sums is not the kernels'); the energies added in f64. The reference is f64, by products
at every frequency. An error is that of 1/√σ² (half of σ²'s), root mean square over the channels: what it makes of an output's.
"""

import numpy as np

BATCH, CIN, COUT, EXTENTS, TAPS = 2, 64, 6, (16, 32, 32), 5
N = tuple(extent + TAPS - 1 for extent in EXTENTS)
M = 2 * TAPS - 1
HALF = N[1] // 2 + 1
POSITIONS = np.prod(N)
LAGS = np.arange(1, TAPS)
# How many fr a stored one stands for.
COUNT = np.where((np.arange(HALF) == 0) | (2 * np.arange(HALF) == N[1]), 1.0, 2.0)


def waves(frequencies, places, period):
    """e^(−2πi·f·n/period), (f, n)."""
    return np.exp(-2j * np.pi * np.outer(np.arange(frequencies), places) / period)


def transformed(x, precision):
    """X at fr ≤ N1/2, 0 at f = 0: (b, ci, fo, fr, fp). The origin is the middle of the volume."""
    x = x.astype(precision)
    for axis in (1, 2, 0):
        length = HALF if axis == 1 else N[axis]
        wave = waves(length, np.arange(EXTENTS[axis]) - EXTENTS[axis] // 2, N[axis]).astype(precision)
        x = np.moveaxis(np.tensordot(x, wave, (2 + axis, 1)), -1, 2 + axis)
    x[:, :, 0, 0, 0] = 0
    return x


def f16(values):
    """Rounded to f16, real and imaginary parts apart."""
    return (values.real.astype(np.float16) + 1j * values.imag.astype(np.float16)).astype(np.complex64)


def words(x, spectrum, two):
    """High and low words, the low ones where `two` says so, and the scale of each channel: Σ|x| ≤ 2^14 of its largest row."""
    magnitude = np.abs(x).sum(axis=(2, 3, 4)).max(axis=0)
    scale = 2.0 ** (8 * np.ceil((np.log2(magnitude) - 14) / 8))
    scaled = spectrum * (1 / scale)[None, :, None, None, None].astype(np.float32)
    high = f16(scaled)
    return high, np.where(two, f16(scaled - high), 0).astype(np.complex64), scale


def times(matrix, values, axis):
    """A real matrix along one axis of complex values, in f32."""
    product = np.tensordot(matrix.astype(np.float32), np.ascontiguousarray(values).view(np.float32), (1, axis))
    return np.ascontiguousarray(np.moveaxis(product, 0, axis)).view(np.complex64)


def interpolation(frequencies, period):
    """1 + 2·Σ cos(l·(2πf/N − 2πg/M)), (g, f)."""
    angle = 2 * np.pi * (np.arange(frequencies)[None] / period - np.arange(M)[:, None] / M)
    return 1 + 2 * np.cos(LAGS[:, None, None] * angle).sum(axis=0)


def components(extent):
    """1, cos(2πl·n/extent), sin(2πl·n/extent), …, (component, n)."""
    angle = 2 * np.pi * np.outer(LAGS, np.arange(extent)) / extent
    return np.concatenate([np.ones((1, extent)), np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(M - 1, -1)])


def gram_matrices(high, low, scale):
    """Ĝ on the grid, (g0, g1, g2, i, j)."""
    along_pair, outer = components(N[2]), interpolation(N[0], N[0])
    half = interpolation(HALF, N[1]) * COUNT / 2
    sums = np.zeros((M, M, M, CIN, CIN), dtype=np.complex64)
    for fr in range(HALF):
        # (fo, fp, ci, b) and (fo, fp, b, ci)
        first, rest = (part[:, :, :, fr].transpose(2, 3, 1, 0) for part in (high, low))
        first_conj, rest_conj = (part.conj().transpose(0, 1, 3, 2) for part in (first, rest))
        gram = first @ rest_conj + rest @ first_conj + first @ first_conj
        line = times(outer, times(along_pair, gram, 1), 0)
        for g1 in range(M):
            sums[:, g1] += np.float32(half[g1, fr]) * line
    mirror = -np.arange(M) % M
    sign = np.array([1 if m == 0 or m % 2 == 1 else -1 for m in range(M)], dtype=np.float32)
    sums = sums + sign[:, None, None] * sums[mirror][:, mirror].conj()
    sums *= (np.outer(scale, scale) / scale.max() ** 2).astype(np.float32)
    to_points = components(M).T * np.array([1] + [2] * (M - 1))
    return times(to_points, sums, 2)


def tap_spectrum(w, lengths, periods, precision):
    """W, (…, ci, c). The origin is the middle of the kernel."""
    v = w.astype(precision)
    for axis in range(3):
        wave = waves(lengths[axis], np.arange(TAPS) - TAPS // 2, periods[axis]).astype(precision)
        v = np.moveaxis(np.tensordot(v, wave, (2 + axis, 1)), -1, 2 + axis)
    return np.ascontiguousarray(v.transpose(2, 3, 4, 0, 1))


def energies_on_grid(gram, scale, w):
    """Σ_f Σ_b |Z_f|² of each c."""
    points = tap_spectrum(w, (M,) * 3, (M,) * 3, np.complex64)
    products = (points * (gram @ points.conj())).real.sum(axis=3)
    return products.astype(np.float64).sum(axis=(0, 1, 2)) * scale.max() ** 2 / M**3


def energies_at_every_frequency(spectrum, w):
    """The same in f64, without a grid."""
    points = tap_spectrum(w, (N[0], HALF, N[2]), N, np.complex128)
    z = np.einsum("bifgp,fgpic->bcfgp", spectrum, points, optimize=True)
    return np.einsum("bcfgp,g->c", np.abs(z) ** 2, COUNT)


def planes():
    """Where fo, fr or fp is 0."""
    mask = np.zeros((N[0], HALF, N[2]), dtype=bool)
    mask[0], mask[:, 0], mask[:, :, 0] = True, True, True
    return mask


def cases(rng):
    """(name, x, w)."""
    shape = (BATCH, CIN, *EXTENTS)
    bound = (COUT * TAPS**3) ** -0.5
    w = rng.uniform(-bound, bound, (CIN, COUT, TAPS, TAPS, TAPS))
    balanced = w - w.mean(axis=(2, 3, 4), keepdims=True)
    grid = np.arange(EXTENTS[2]) * 0.7 + np.arange(EXTENTS[1])[:, None] * 0.3
    offset = 100 + 1e-3 * rng.standard_normal(shape)
    yield "uniform [0, 1)", rng.random(shape), w
    yield "normal", rng.standard_normal(shape), w
    yield "ReLU of normal", np.maximum(rng.standard_normal(shape), 0), w
    yield "sinusoid", np.sin(grid + rng.random((BATCH, CIN, 1, 1, 1)) * 6) * np.ones(shape), w
    yield "100 + 0.001·normal", offset, w
    yield "the same, taps of sum 0", offset, balanced


def main():
    columns = {"X as f16": False, "planes exact": planes(), "all in two": True}
    print("| input | " + " | ".join(columns) + " |\n|" + "---|" * (1 + len(columns)))
    for name, x, w in cases(np.random.default_rng(77)):
        x, w = (values.astype(np.float32).astype(np.float64) for values in (x, w))
        means = np.einsum("bi,ic->bc", x.sum(axis=(2, 3, 4)), w.sum(axis=(2, 3, 4))) / POSITIONS

        def variance(energies):
            return energies / (BATCH * POSITIONS**2) + means.var(axis=0)

        exact = variance(energies_at_every_frequency(transformed(x, np.complex128), w))
        spectrum, errors = transformed(x, np.complex64), []
        for two in columns.values():
            high, low, scale = words(x, spectrum, two)
            found = variance(energies_on_grid(gram_matrices(high, low, scale), scale, w))
            errors.append(np.sqrt(np.mean((found / exact - 1) ** 2)) / 2)
        print(f"| {name} | " + " | ".join(f"{error:.0e}".replace("e-0", "e-") for error in errors) + " |", flush=True)


if __name__ == "__main__":
    main()
