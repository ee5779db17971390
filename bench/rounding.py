"""What rounding does to the spectral way: the errors that docs/spectral.md tells of. Needs NumPy alone.

    python3 rounding.py

Everything is f64 but what a column says: f16 values, f16 arithmetic (each result rounded), products summed exactly. An error
is that of 1/√σ² (half of σ²'s), root mean square over the channels: what it makes of an output's.
"""

import numpy as np

BATCH, CIN, COUT, EXTENTS, TAPS = 2, 64, 6, (16, 32, 32), 5
N = tuple(extent + TAPS - 1 for extent in EXTENTS)
HALF = N[1] // 2 + 1
MIDDLE = TAPS // 2


def f16(values):
    """Rounded to f16, real and imaginary parts apart."""
    if np.iscomplexobj(values):
        return f16(values.real) + 1j * f16(values.imag)
    return values.astype(np.float16).astype(np.float64)


def twice(values):
    """As a sum of two f16: high, and what it leaves."""
    high = f16(values)
    return high + f16(values - high)


def transform(x):
    """X at fr ≤ N1/2, scaled as stored: Σ|x| ≤ 2^14."""
    exponent = 8 * np.ceil((np.log2(np.abs(x).sum(axis=(2, 3, 4), keepdims=True)) - 14) / 8)
    return np.fft.fftn(x, s=N, axes=(2, 3, 4))[:, :, :, :HALF] * 2.0**-exponent, 2.0**exponent


def folded(w):
    """The taps transformed along outer and half, scaled as stored: (ci, c, fo, fr, kp)."""
    place = np.arange(TAPS) - MIDDLE
    outer = np.exp(-2j * np.pi * np.outer(np.arange(N[0]), place) / N[0])
    half = np.exp(-2j * np.pi * np.outer(np.arange(HALF), place) / N[1])
    v = np.einsum("fo,gr,icorp->icfgp", outer, half, w, optimize=True)
    scale = 2.0 ** (8 - np.ceil(np.log2(np.abs(w).sum(axis=(2, 3, 4)).max(axis=0))))
    return v * scale[None, :, None, None, None], scale


def exactly(values):
    return values


def summed(terms, rounded):
    """Σ constant·value, a rounding after each step."""
    total = 0.0
    for constant, value in terms:
        total = rounded(total + constant * value)
    return total


def weights(v, constants="exact"):
    """W at all fp from folded taps, W(±fp) = V0 + Σ (cos θ − 1)·P ∓ i·Σ sin θ·M: in f16 arithmetic unless all is exact."""
    rounded = exactly if constants == "exact" else f16
    theta = 2 * np.pi * np.arange(N[2]) / N[2]
    middle = rounded(v.sum(axis=-1))[..., None]
    cosines, sines = [], []
    for q in range(1, MIDDLE + 1):
        plus, minus = v[..., MIDDLE + q, None], v[..., MIDDLE - q, None]
        cosines.append((np.cos(q * theta) - 1, rounded(plus + minus)))
        sines.append((np.sin(q * theta), -1j * rounded(plus - minus)))
    if constants == "exact":
        return middle + summed(cosines, rounded) + summed(sines, rounded)

    def split(terms):
        low = [(f16(constant - f16(constant)), value) for constant, value in terms]
        high = [(f16(constant), value) for constant, value in terms]
        return {"rounded": high, "low last": high + low, "low first": low + high}[constants]

    return rounded(rounded(middle + summed(split(cosines), rounded)) + summed(split(sines), rounded))


def variance(x_parts, w_parts, scale, means):
    """σ² a channel from the spectra, by Parseval."""
    z = np.einsum("bifgp,icfgp->bcfgp", x_parts, w_parts, optimize=True) / scale[None, :, None, None, None]
    energy = np.abs(z) ** 2
    count = np.full(HALF, 2.0)
    count[0] = 1.0
    if N[1] % 2 == 0:
        count[-1] = 1.0
    energy[:, :, 0, 0, 0] = 0
    positions = np.prod(N)
    return np.einsum("bcfgp,g->c", energy, count) / (BATCH * positions**2) + means.var(axis=0)


def planes():
    """Where fo, fr or fp is 0."""
    mask = np.zeros((N[0], HALF, N[2]), dtype=bool)
    mask[0], mask[:, 0], mask[:, :, 0] = True, True, True
    return mask


def inputs(rng):
    shape = (BATCH, CIN, *EXTENTS)
    grid = np.arange(EXTENTS[2]) * 0.7 + np.arange(EXTENTS[1])[:, None] * 0.3
    yield "uniform [0, 1)", rng.random(shape)
    yield "normal", rng.standard_normal(shape)
    yield "ReLU of normal", np.maximum(rng.standard_normal(shape), 0)
    yield "sinusoid", np.sin(grid + rng.random((BATCH, CIN, 1, 1, 1)) * 6) * np.ones(shape)
    yield "100 + 0.001·normal", 100 + 1e-3 * rng.standard_normal(shape)


def main():
    rng = np.random.default_rng(77)
    bound = (COUT * TAPS**3) ** -0.5
    w = rng.uniform(-bound, bound, (CIN, COUT, TAPS, TAPS, TAPS)).astype(np.float32).astype(np.float64)
    v, scale = folded(w)
    exact_w, strict = weights(v), planes()
    made = {"rounded": weights(v, "rounded"), "low last": weights(v, "low last"), "low first": weights(v, "low first")}
    names = ["X, W as f16", "planes exact", "W made in f16", "constants in two, low last", "low first", "all in two"]
    print("| input | " + " | ".join(names) + " |\n|" + "---|" * (1 + len(names)))
    for name, x in inputs(rng):
        x = x.astype(np.float32).astype(np.float64)
        spectrum, factor = transform(x)
        means = np.einsum("bi,ic->bc", x.sum(axis=(2, 3, 4)), w.sum(axis=(2, 3, 4))) / np.prod(N)

        def found(x_part, w_part):
            return variance(x_part * factor, w_part, scale, means)

        exact = found(spectrum, exact_w)
        narrow, wide = f16(spectrum), twice(spectrum)
        columns = [found(narrow, f16(exact_w))]
        for w_part in (exact_w, *made.values()):
            columns.append(found(np.where(strict, wide, narrow), np.where(strict, twice(exact_w), f16(w_part))))
        columns.append(found(wide, twice(exact_w)))
        errors = [np.sqrt(np.mean((column / exact - 1) ** 2)) / 2 for column in columns]
        print(f"| {name} | " + " | ".join(f"{error:.0e}".replace("e-0", "e-") for error in errors) + " |", flush=True)


if __name__ == "__main__":
    main()
