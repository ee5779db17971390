//! The arithmetic of [`spectral_energy`](crate::spectral_energy): one warp, 16 output channels, 16 images, four slots.
//!
//! ```text
//! W_± = S ∓ i·T,   S = V + Σ_q a_q·P_q,   T = Σ_q b_q·M_q        for the pair ±fp in two neighbouring slots
//! Re Z = Re W·Re X − Im W·Im X,   Im Z = Re W·Im X + Im W·Re X    mma m16n8k16: rows c, columns b, summed over 16 ci
//! ```
//!
//! V, P and M come in the layout of the product's first operand, so that W is made where it is used, lane by lane: word i of
//! a lane is of c = lane/4 (+8 for odd i) and ci = 2·(lane mod 4) + {0, 1} (+8 for i ≥ 2). A word of X is one coefficient; the
//! second operand wants the real parts of two ci in one word, and the imaginary parts: two byte permutations for two words.
//!
//! **Plain.** Pairs of f16; a and b as high + low, for a rounded cosine errs alike for all channels and images, and does
//! not average out. The low products come first and V last: on top of a sum the low ones would be rounded away. In group 0 slots 0 and 1 are the high and the low word of fp = 0, and W there is V, of which
//! `folded_low` has the rest: Z = V·X + V·X_low + V_low·X. **Strict.** S and T in f32, W and X as high + low: of the four products of
//! these only low·low is left out.

use cuda_std::bits::permute_bytes;
use cuda_std::convert::{F16, F16x2};
use cuda_std::float::Float;
use cuda_std::mma::m16n8k16_f16;
use cuda_std::shared::Shared;
use cuda_std::thread::lane_index;
use cuda_std::unroll;
use cuda_std::warp::shuffle_xor;

use crate::spectral_energy::{BATCH, SpectralEnergy};
use crate::spectral_stage::{Cursor, Stages};
use crate::spectrum::TILE;

/// A first operand, complex: c on the rows.
#[derive(Clone, Copy)]
struct Weights {
    re: [u32; 4],
    im: [u32; 4],
    minus_im: [u32; 4],
}

/// A second operand, complex: images on the columns.
#[derive(Clone, Copy)]
struct Images {
    re: [u32; 2],
    im: [u32; 2],
}

/// Z of four slots and 16 images (two products' columns), and the energies of the slots before: what a warp sums.
pub struct Accumulators {
    re: [[[f32; 4]; 2]; 4],
    im: [[[f32; 4]; 2]; 4],
    energies: [f32; 2],
}

impl Accumulators {
    /// Nothing summed yet.
    pub const ZERO: Self = Self { re: [[[0.0; 4]; 2]; 4], im: [[[0.0; 4]; 2]; 4], energies: [0.0; 2] };

    /// A stage's products for a tile of output channels of the block and a group of its slots; with the last chunk of a step
    /// their energies too.
    ///
    /// # Safety
    /// The stage has arrived in these buffers, for all threads; tile and group are the stage's.
    #[inline(always)]
    pub unsafe fn multiply<const STRICT: bool>(
        &mut self,
        p: &SpectralEnergy,
        stages: &Stages<'_, STRICT>,
        stage: &Cursor,
        buffers: (u32, u32),
        tile: u32,
        group: u32,
    ) {
        if stage.starts_step() {
            (self.re, self.im) = ([[[0.0; 4]; 2]; 4], [[[0.0; 4]; 2]; 4]);
        }
        let plane = !STRICT && stage.line_group(p, group) == 0;
        // The usual numbers of taps have code of their own, without a loop over them, which ptxas can schedule as a whole.
        let (pairs, two) = (p.spectrum.tap_pairs(), p.spectrum.shape.batch > 8);
        let place = (stages, stage, buffers, tile, group);
        // SAFETY: the caller's promise.
        unsafe {
            match (pairs, two) {
                (_, true) if STRICT => self.chunk::<STRICT, ANY, true>(p, place, pairs),
                (1, true) => self.chunk::<STRICT, 1, true>(p, place, 1),
                (2, true) => self.chunk::<STRICT, 2, true>(p, place, 2),
                (_, true) => self.chunk::<STRICT, ANY, true>(p, place, pairs),
                (_, false) => self.chunk::<STRICT, ANY, false>(p, place, pairs),
            }
            if plane {
                self.plane(p, place, two);
            }
        }
        if stage.ends_step() {
            if plane {
                unroll!(n < 2, {
                    unroll!(i < 4, {
                        self.re[0][n][i] += self.re[1][n][i];
                        self.im[0][n][i] += self.im[1][n][i];
                        (self.re[1][n][i], self.im[1][n][i]) = (0.0, 0.0);
                    });
                });
            }
            unroll!(s < 4, {
                unroll!(n < 2, {
                    unroll!(i < 4, {
                        let (re, im) = (self.re[s][n][i], self.im[s][n][i]);
                        self.energies[i / 2] = re.fma(re, im.fma(im, self.energies[i / 2]));
                    });
                });
            });
        }
    }

    /// The chunk's tiles of ci; `pairs` pairs of taps, which are `PAIRS` unless that is [`ANY`].
    #[inline(always)]
    unsafe fn chunk<const STRICT: bool, const PAIRS: u32, const TWO: bool>(
        &mut self,
        p: &SpectralEnergy,
        (stages, stage, (buffer, taps), tile, group): Place<'_, STRICT>,
        pairs: u32,
    ) {
        let coefficients = stages.coefficients(buffer, group);
        // The rows of ci lie 16·16·8 words a tile apart: the exchange of places has period 8.
        let images = ImagePlaces::of(stages, buffer, group);
        let mut in_tile = 0;
        while in_tile < stage.tiles(p) {
            let folded = stages.taps(taps, tile, in_tile);
            let words = in_tile * TILE * BATCH * 8;
            // SAFETY: the caller's promise.
            unsafe {
                if STRICT {
                    self.strict::<TWO>(folded, coefficients, pairs, &images, (words, words + stages.low_words()));
                } else {
                    let slots = images.slots::<TWO>(words);
                    self.plain::<PAIRS, TWO>(folded, coefficients, pairs, &slots);
                }
            }
            in_tile += 1;
        }
    }

    /// What rounding left of V times slot 0, the plane fp = 0.
    #[inline(always)]
    unsafe fn plane<const STRICT: bool>(
        &mut self,
        p: &SpectralEnergy,
        (stages, stage, (buffer, _), tile, group): Place<'_, STRICT>,
        two: bool,
    ) {
        let images = ImagePlaces::of(stages, buffer, group);
        let mut in_tile = 0;
        while in_tile < stage.tiles(p) {
            // SAFETY: the caller's promise.
            unsafe {
                let at = stage.folded_low(p, tile, in_tile) + lane_index() as u64 * 4;
                let (re, im) = (p.folded_low.load_array::<4>(at), p.folded_low.load_array::<4>(at + 128));
                let x = images.slot::<true>(in_tile * TILE * BATCH * 8);
                if two {
                    self.product::<true>(0, &weights(re, im), &x);
                } else {
                    self.product::<false>(0, &weights(re, im), &x);
                }
            }
            in_tile += 1;
        }
    }

    /// The energies of rows lane/4 and lane/4 + 8, summed over the four lanes that share them; starts again from 0.
    #[inline(always)]
    pub fn energies(&mut self) -> [f32; 2] {
        let [mut low, mut high] = self.energies;
        unroll!(level < 2, {
            low += shuffle_xor(low, 1 << level);
            high += shuffle_xor(high, 1 << level);
        });
        self.energies = [0.0; 2];
        [low, high]
    }

    /// Z of slot `s` += W·X.
    #[inline(always)]
    fn product<const TWO: bool>(&mut self, s: usize, w: &Weights, x: &[Images; 2]) {
        unroll!(n < 2, {
            if n == 0 || TWO {
                self.re[s][n] = m16n8k16_f16(w.re, x[n].re, self.re[s][n]);
                self.im[s][n] = m16n8k16_f16(w.re, x[n].im, self.im[s][n]);
                self.re[s][n] = m16n8k16_f16(w.minus_im, x[n].im, self.re[s][n]);
                self.im[s][n] = m16n8k16_f16(w.im, x[n].re, self.im[s][n]);
            }
        });
    }

    /// One tile of ci, both pairs at once.
    #[inline(always)]
    unsafe fn plain<const PAIRS: u32, const TWO: bool>(
        &mut self,
        folded: Shared<u32>,
        coefficients: Shared<u32>,
        pairs: u32,
        slots: &[[Images; 2]; 4],
    ) {
        // SAFETY: the tile has 2 + 4·pairs vectors a lane, the group pairs·2 times four coefficients.
        unsafe {
            let mut turned =
                Turned { cosines: [[[F16x2::default(); 4]; 2]; 2], sines: [[[F16x2::default(); 4]; 2]; 2] };
            if PAIRS == 1 {
                turned.add::<1>(folded, coefficients, 0);
            } else if PAIRS == 2 {
                turned.add::<2>(folded, coefficients, 0);
            } else {
                let mut q = 0;
                while q + 1 < pairs {
                    turned.add::<2>(folded, coefficients, q);
                    q += 2;
                }
                if q < pairs {
                    turned.add::<1>(folded, coefficients, q);
                }
            }
            let v = [vector(folded, 0), vector(folded, 1)];
            unroll!(pair < 2, {
                let (c, t) = (turned.cosines[pair], turned.sines[pair]);
                let (mut plus, mut minus) = (Weights::ZERO, Weights::ZERO);
                unroll!(i < 4, {
                    let (re, im) = (v[0][i].add(c[0][i]), v[1][i].add(c[1][i]));
                    plus.re[i] = re.add(t[1][i]).to_bits();
                    plus.im[i] = im.add(t[0][i].neg()).to_bits();
                    minus.re[i] = re.add(t[1][i].neg()).to_bits();
                    minus.im[i] = im.add(t[0][i]).to_bits();
                    plus.minus_im[i] = plus.im[i] ^ SIGNS;
                    minus.minus_im[i] = minus.im[i] ^ SIGNS;
                });
                self.product::<TWO>(2 * pair, &plus, &slots[2 * pair]);
                self.product::<TWO>(2 * pair + 1, &minus, &slots[2 * pair + 1]);
            });
        }
    }

    /// One tile of ci, a pair after the other. `words`: from the places of the images to the tile's high and low words.
    #[inline(always)]
    unsafe fn strict<const TWO: bool>(
        &mut self,
        folded: Shared<u32>,
        coefficients: Shared<u32>,
        pairs: u32,
        images: &ImagePlaces,
        words: (u32, u32),
    ) {
        unroll!(pair < 2, {
            // SAFETY: the tile has 2 + 4·pairs times two vectors a lane, the group pairs·2 times two coefficients; the
            // images' words are the stage's.
            unsafe {
                let vector = |i: u32| wide(folded.offset(i * 256 + lane_index() * 4));
                let mut sums = [vector(0), vector(1)];
                let mut differences = [[0.0f32; 8]; 2];
                let mut q = 0;
                while q < pairs {
                    let at = coefficients.offset(4 * q + 2 * pair as u32);
                    let (a, b) = (f32::from_bits(at.load(0)), f32::from_bits(at.load(1)));
                    unroll!(part < 2, {
                        let (p, m) = (vector(2 + 4 * q + part as u32), vector(4 + 4 * q + part as u32));
                        unroll!(i < 8, {
                            sums[part][i] = p[i].fma(a, sums[part][i]);
                            differences[part][i] = m[i].fma(b, differences[part][i]);
                        });
                    });
                    q += 1;
                }
                unroll!(sign < 2, {
                    let (s, t) = (&sums, &differences);
                    let (mut re, mut im) = ([0.0f32; 8], [0.0f32; 8]);
                    unroll!(i < 8, {
                        re[i] = if sign == 0 { s[0][i] + t[1][i] } else { s[0][i] - t[1][i] };
                        im[i] = if sign == 0 { s[1][i] - t[0][i] } else { s[1][i] + t[0][i] };
                    });
                    let ((re, re_low), (im, im_low)) = (split(&re), split(&im));
                    let slot = 2 * pair + sign;
                    let high = images.slot::<TWO>(words.0 + slot as u32);
                    let low = images.slot::<TWO>(words.1 + slot as u32);
                    let w = weights(re, im);
                    self.product::<TWO>(slot, &weights(re_low, im_low), &high);
                    self.product::<TWO>(slot, &w, &low);
                    self.product::<TWO>(slot, &w, &high);
                });
            }
        });
    }
}

/// Any number of pairs of taps.
const ANY: u32 = u32::MAX;

/// Where a warp works: the stage, in which buffers (spectra, taps), which tile of output channels and which group of slots.
type Place<'a, const STRICT: bool> = (&'a Stages<'a, STRICT>, &'a Cursor, (u32, u32), u32, u32);

/// Σ_q (cos θ_q − 1)·P_q and Σ_q sin θ_q·M_q of two pairs: [pair][re, im][word].
struct Turned {
    cosines: [[[F16x2; 4]; 2]; 2],
    sines: [[[F16x2; 4]; 2]; 2],
}

impl Turned {
    /// Adds q and, where `COUNT` is 2, q + 1: the low parts of both before their high ones.
    #[inline(always)]
    unsafe fn add<const COUNT: u32>(&mut self, folded: Shared<u32>, coefficients: Shared<u32>, q: u32) {
        let second = COUNT - 1;
        // SAFETY: the caller's: these vectors and coefficients exist.
        unsafe {
            unroll!(part < 2, {
                let at = 2 + 4 * q + part as u32;
                let p = [vector(folded, at), vector(folded, at + 4 * second)];
                let m = [vector(folded, at + 2), vector(folded, at + 2 + 4 * second)];
                unroll!(pair < 2, {
                    let of = |q: u32| halves(coefficients.offset(8 * q + 4 * pair as u32));
                    let ([a, a_low, b, b_low], [c, c_low, d, d_low]) = (of(q), of(q + second));
                    unroll!(i < 4, {
                        let (mut cosine, mut sine) = (self.cosines[pair][part][i], self.sines[pair][part][i]);
                        if COUNT == 2 {
                            cosine = p[1][i].fma(c_low, cosine);
                            sine = m[1][i].fma(d_low, sine);
                        }
                        cosine = p[0][i].fma(a_low, cosine);
                        sine = m[0][i].fma(b_low, sine);
                        if COUNT == 2 {
                            cosine = p[1][i].fma(c, cosine);
                            sine = m[1][i].fma(d, sine);
                        }
                        self.cosines[pair][part][i] = p[0][i].fma(a, cosine);
                        self.sines[pair][part][i] = m[0][i].fma(b, sine);
                    });
                });
            });
        }
    }
}

/// The signs of two f16.
const SIGNS: u32 = 0x8000_8000;

impl Weights {
    const ZERO: Self = Self { re: [0; 4], im: [0; 4], minus_im: [0; 4] };
}

#[inline(always)]
fn weights(re: [u32; 4], im: [u32; 4]) -> Weights {
    let [a, b, c, d] = im;
    Weights { re, im, minus_im: [a ^ SIGNS, b ^ SIGNS, c ^ SIGNS, d ^ SIGNS] }
}

/// This lane's four words of basis `index` of a tile.
#[inline(always)]
unsafe fn vector(folded: Shared<u32>, index: u32) -> [F16x2; 4] {
    // SAFETY: the caller's.
    unsafe { halves(folded.offset(index * 128 + lane_index() * 4)) }
}

/// Four words as pairs of f16.
#[inline(always)]
unsafe fn halves(at: Shared<u32>) -> [F16x2; 4] {
    let mut words = [0; 4];
    // SAFETY: the caller's: 16 aligned bytes.
    unsafe { at.load_16(0, &mut words) };
    let [a, b, c, d] = words;
    [F16x2::from_bits(a), F16x2::from_bits(b), F16x2::from_bits(c), F16x2::from_bits(d)]
}

/// Two vectors of four f32, 128 words apart.
#[inline(always)]
unsafe fn wide(at: Shared<u32>) -> [f32; 8] {
    let (mut low, mut high) = ([0; 4], [0; 4]);
    // SAFETY: the caller's: 16 aligned bytes each.
    unsafe {
        at.load_16(0, &mut low);
        at.load_16(128, &mut high);
    }
    let mut all = [0.0; 8];
    unroll!(i < 4, {
        all[i] = f32::from_bits(low[i]);
        all[4 + i] = f32::from_bits(high[i]);
    });
    all
}

/// Eight f32 as pairs of f16, and what rounding left.
#[inline(always)]
fn split(values: &[f32; 8]) -> ([u32; 4], [u32; 4]) {
    let (mut high, mut low) = ([0; 4], [0; 4]);
    unroll!(i < 4, {
        let (a, b) = (values[2 * i], values[2 * i + 1]);
        let pair = F16x2::from_f32(a, b);
        let (a_high, b_high): (F16, F16) = pair.to_halves();
        high[i] = pair.to_bits();
        low[i] = F16x2::from_f32(a - a_high.to_f32(), b - b_high.to_f32()).to_bits();
    });
    (high, low)
}

/// The real parts of two coefficients, and their imaginary parts.
#[inline(always)]
fn transpose(a: u32, b: u32) -> (u32, u32) {
    (permute_bytes(a, b, 0x5410), permute_bytes(a, b, 0x7632))
}

/// Where this lane finds image lane/4 of ci = 2·(lane mod 4), of the first tile of ci.
struct ImagePlaces(Shared<u32>);

impl ImagePlaces {
    #[inline(always)]
    fn of<const STRICT: bool>(stages: &Stages<'_, STRICT>, buffer: u32, group: u32) -> Self {
        Self(stages.slots(buffer, group, 2 * (lane_index() % 4), lane_index() / 4))
    }

    /// 8·n images and 8·half + odd channels further on. The exchange of places there is the same: see
    /// [`spectral_stage`](crate::spectral_stage).
    #[inline(always)]
    const fn at(&self, words: u32, n: usize, half: usize, odd: u32) -> Shared<u32> {
        self.0.offset(words + (n as u32 * 8 + (half as u32 * 8 + odd) * BATCH) * 8)
    }

    /// This lane's part of the second operands of all four slots, `words` words further on.
    #[inline(always)]
    unsafe fn slots<const TWO: bool>(&self, words: u32) -> [[Images; 2]; 4] {
        let mut slots = [[Images { re: [0; 2], im: [0; 2] }; 2]; 4];
        unroll!(n < 2, {
            if n == 0 || TWO {
                unroll!(half < 2, {
                    let (mut first, mut second) = ([0; 4], [0; 4]);
                    // SAFETY: the caller's: words of the stage, 16-byte aligned.
                    unsafe {
                        self.at(words, n, half, 0).load_16(0, &mut first);
                        self.at(words, n, half, 1).load_16(0, &mut second);
                    }
                    unroll!(s < 4, {
                        (slots[s][n].re[half], slots[s][n].im[half]) = transpose(first[s], second[s]);
                    });
                });
            }
        });
        slots
    }

    /// This lane's part of the second operand of one slot: `words` counts it.
    #[inline(always)]
    unsafe fn slot<const TWO: bool>(&self, words: u32) -> [Images; 2] {
        let mut images = [Images { re: [0; 2], im: [0; 2] }; 2];
        unroll!(n < 2, {
            if n == 0 || TWO {
                unroll!(half < 2, {
                    // SAFETY: the caller's: words of the stage.
                    let (first, second) =
                        unsafe { (self.at(words, n, half, 0).load(0), self.at(words, n, half, 1).load(0)) };
                    (images[n].re[half], images[n].im[half]) = transpose(first, second);
                });
            }
        });
        images
    }
}
