//! The hardware's rounding to the narrow floating-point formats, on the host: from f64, once.

/// A binary format of at most 11 significant bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Bits of the fraction.
    fraction: u32,
    /// Bits of the exponent.
    exponent: u32,
}

/// Where a number goes that lies halfway between two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ties {
    /// To the one whose last bit is 0 (`.rn`).
    Even,
    /// Away from zero (`.rna`).
    Away,
}

pub(crate) const F16: Format = Format { fraction: 10, exponent: 5 };
pub(crate) const BF16: Format = Format { fraction: 7, exponent: 8 };
/// As its 19 significant bits.
pub(crate) const TF32: Format = Format { fraction: 10, exponent: 8 };

impl Format {
    /// The exponent of the smallest normal number.
    const fn least_exponent(self) -> i32 {
        2 - (1 << (self.exponent - 1))
    }

    /// The bits of infinity.
    const fn infinity(self) -> u32 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    /// `value` rounded once, as bits. NaN becomes the one whose bits below the sign are all set.
    pub(crate) fn encode(self, value: f64, ties: Ties) -> u32 {
        if value.is_nan() {
            return self.infinity() | ((1 << self.fraction) - 1);
        }
        let sign = u32::from(value.is_sign_negative()) << (self.exponent + self.fraction);
        let value = value.abs();
        if value.is_infinite() {
            return sign | self.infinity();
        }
        // A subnormal f64 is far below every format: its exponent does not matter.
        let exponent = ((value.to_bits() >> 52) as i32 - 1023).max(self.least_exponent());
        // In units of the last place: exact, a power of two. An integer of `fraction` + 1 bits, or below that of a subnormal
        // number; rounded up past all its bits it carries into the exponent.
        let units = value * 2f64.powi(self.fraction as i32 - exponent);
        let units = match ties {
            Ties::Even => units.round_ties_even(),
            Ties::Away => units.round(),
        } as u64;
        let bits = ((exponent - self.least_exponent()) as u64).saturating_mul(1 << self.fraction) + units;
        sign | bits.min(u64::from(self.infinity())) as u32
    }

    /// The value of `bits`: exact.
    pub(crate) fn decode(self, bits: u32) -> f64 {
        let fraction = f64::from(bits & ((1 << self.fraction) - 1));
        let exponent = (bits >> self.fraction & ((1 << self.exponent) - 1)) as i32;
        let last_place = |exponent: i32| 2f64.powi(exponent - self.fraction as i32);
        let magnitude = if exponent == (1 << self.exponent) - 1 {
            if fraction == 0.0 { f64::INFINITY } else { f64::NAN }
        } else if exponent == 0 {
            fraction * last_place(self.least_exponent())
        } else {
            (fraction + f64::from(1u32 << self.fraction)) * last_place(exponent - 1 + self.least_exponent())
        };
        if bits >> (self.fraction + self.exponent) & 1 == 1 { -magnitude } else { magnitude }
    }
}

/// a·b + c such that one rounding of it to a narrow [`Format`] is one rounding of the exact value; a·b must be exact.
///
/// f64 alone would round twice. Rounding to odd first is innocuous: what is cut off stays visible in the last bit, which no
/// narrow format reaches (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
pub(crate) fn fma_to_odd(a: f64, b: f64, c: f64) -> f64 {
    let product = a * b;
    let sum = product + c;
    if !sum.is_finite() {
        return sum;
    }
    // Knuth's two-sum: `error` is exactly what `sum` lacks.
    let of_c = sum - product;
    let error = (product - (sum - of_c)) + (c - of_c);
    if error == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    // The neighbour on the other side of the exact value: its last bit is 1.
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every finite value from 0 up with its bits, by counting: each binade has 2^fraction numbers, evenly spaced.
    fn table(format: Format) -> Vec<f64> {
        let mut values = Vec::new();
        let (mut value, mut step) = (0f64, 2f64.powi(format.least_exponent() - format.fraction as i32));
        for binade in 0..(1u32 << format.exponent) - 1 {
            // The binade of the subnormal numbers and the one after it have the same spacing.
            if binade > 1 {
                step *= 2.0;
            }
            for _ in 0..1u32 << format.fraction {
                values.push(value);
                value += step;
            }
        }
        values
    }

    /// The bits of the number nearest to `value` + `tail`, where `tail` is too small to matter but at a tie.
    fn nearest(table: &[f64], value: f64, tail: f64, ties: Ties) -> u32 {
        let (value, tail) = if value < 0.0 { (-value, -tail) } else { (value, tail) };
        let above = table.partition_point(|&known| known <= value).min(table.len());
        let below = above - 1;
        let next = table.get(above).copied().unwrap_or_else(|| 2.0 * table[below] - table[below - 1]);
        let middle = table[below] / 2.0 + next / 2.0;
        let up = match value.partial_cmp(&middle).unwrap() {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal if tail != 0.0 => tail > 0.0,
            std::cmp::Ordering::Equal => match ties {
                Ties::Even => below % 2 == 1,
                Ties::Away => true,
            },
        };
        (if up { above } else { below }) as u32
    }

    /// Every value of the format, every point halfway, and the f64 next to each, on both sides.
    #[test]
    fn values_and_ties_round_by_the_definition() {
        for format in [F16, BF16, TF32] {
            let table = table(format);
            let sign = 1u32 << (format.fraction + format.exponent);
            for (bits, &value) in table.iter().enumerate() {
                assert_eq!(format.decode(bits as u32), value);
                assert_eq!(format.decode(bits as u32 | sign), -value);
                let next = table.get(bits + 1).copied().unwrap_or_else(|| 2.0 * value - table[bits - 1]);
                let middle = value / 2.0 + next / 2.0;
                for point in [value, value.next_up(), middle.next_down(), middle, middle.next_up()] {
                    for ties in [Ties::Even, Ties::Away] {
                        let expected = nearest(&table, point, 0.0, ties);
                        assert_eq!(format.encode(point, ties), expected, "{format:?} {point:e} {ties:?}");
                        assert_eq!(format.encode(-point, ties), expected | sign, "{format:?} -{point:e} {ties:?}");
                    }
                }
            }
            assert_eq!(table.len() as u32, format.infinity());
            assert_eq!(format.encode(f64::INFINITY, Ties::Even), format.infinity());
            assert_eq!(format.encode(f64::MAX, Ties::Even), format.infinity());
            assert_eq!(format.encode(5e-324, Ties::Away), 0);
            assert_eq!(format.encode(f64::NAN, Ties::Even), sign - 1);
            assert!(format.decode(sign - 1).is_nan());
        }
    }

    #[test]
    fn fused_multiply_add_rounds_once() {
        // The product is halfway between 1 and the next bf16; c, 120 binades below, decides.
        let value = |bits| BF16.decode(bits);
        let (a, b) = (1.0 + 2f64.powi(-8), 1.0);
        assert_eq!(BF16.encode(fma_to_odd(a, b, 2f64.powi(-120)), Ties::Even), 0x3f81);
        assert_eq!(BF16.encode(fma_to_odd(a, b, -(2f64.powi(-120))), Ties::Even), 0x3f80);
        assert_eq!(BF16.encode(a * b + 2f64.powi(-120), Ties::Even), 0x3f80, "f64 alone does not see it");

        let mut state = 12345u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as u32 & 0xffff
        };
        for format in [F16, BF16] {
            let table = table(format);
            let mut ties = 0;
            for _ in 0..400_000 {
                let [a, b, c] = [draw(), draw(), draw()].map(|bits| format.decode(bits));
                let (product, sum) = (a * b, a * b + c);
                let rounded = format.encode(fma_to_odd(a, b, c), Ties::Even);
                if !sum.is_finite() {
                    assert_eq!(rounded, format.encode(sum, Ties::Even));
                    continue;
                }
                // The exact value is sum + tail.
                let of_c = sum - product;
                let tail = (product - (sum - of_c)) + (c - of_c);
                ties += u32::from(tail != 0.0);
                let sign = u32::from(sum.is_sign_negative()) << 15;
                assert_eq!(rounded, nearest(&table, sum, tail, Ties::Even) | sign, "{a:e} {b:e} {c:e}");
            }
            assert!(ties > 1000 || format.exponent == 5, "{ties} sums that f64 does not hold");
        }
        assert_eq!(value(0x0001), 2f64.powi(-133));
    }
}
