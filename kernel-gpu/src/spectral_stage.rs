//! What a block of [`spectral_energy`](crate::spectral_energy) works on at once, and how it gets into shared memory.
//!
//! A part is worked through in **stages**: a step of 8 or 16 slots and a chunk of 1, 2 or 4 tiles of input channels. A stage needs
//!
//! ```text
//! spectra       X[ci of the chunk][16 images][slots of the step]     from (line, row, slot); strict: then their low words
//! folded taps   [channel tile][tile of ci][basis][lane]              kept while the next stage wants the same
//! coefficients  of the step's groups
//! ```
//!
//! Each has two buffers, so that a stage is copied (`cp.async`) while the one before is computed. Images past B, channels past
//! Cin and slots past the row are zeros.
//!
//! **Bank conflicts.** Spectra lie as `[8 slots][ci][image][2 groups of 4 slots]`, 16 bytes a group. A warp reads one group of 4 rows of
//! ci and 8 images with 16-byte loads, 8 lanes at once: 2 images, ci = 0, 2, 4, 6. Rows of 32 bytes put these ci on the same
//! banks; so the place of a group within its 128 bytes is exchanged by a function of ci.

use cuda_std::async_copy;
use cuda_std::convert::F16x2;
use cuda_std::global::Global;
use cuda_std::shared::Shared;
use cuda_std::thread::thread_idx_x;
use cuda_std::unroll;

use crate::conv_shape::div_rem;
use crate::spectral_energy::device::Scales;
use crate::spectral_energy::{BATCH, SpectralEnergy, coefficient_words};
use crate::spectrum::TILE;

/// Where a block is in its work.
///
/// A launch's units are (line, 16 images, group of output channels, split of the steps), the last running first. A block takes
/// a range of them, all blocks ranges of one length: units that follow each other mostly share the folded taps, and a sum.
#[derive(Clone, Copy)]
pub struct Cursor {
    unit: u64,
    end: u64,
    /// Among the lines of the launch.
    line: u32,
    batch_group: u32,
    /// Which of the blocks' shares of the output channels.
    pub channel_group: u32,
    split: u32,
    step: u32,
    step_end: u32,
    chunk: u32,
    chunks: u32,
    /// Steps of a line, and of a split.
    steps: u32,
    split_steps: u32,
    /// Groups of output channels, and of images. (What takes a division is kept.)
    channel_groups: u32,
    batch_groups: u32,
    /// fr of the line.
    pub half_frequency: u32,
    /// Words before the line in the spectra.
    spectra: u64,
    /// Tiles before this line's and channel group's among the folded ones.
    folded: u64,
}

impl Cursor {
    /// The first stage of block `block` of `blocks`.
    #[inline(always)]
    pub fn first(p: &SpectralEnergy, strict: bool, block: u32, blocks: u32) -> Self {
        let (s, tiling) = (&p.spectrum, &p.tiling);
        let (channel_groups, batch_groups) = (tiling.channel_groups(s), s.shape.batch.div_ceil(BATCH));
        let units = p.lines as u64 * tiling.splits as u64 * batch_groups as u64 * channel_groups as u64;
        let steps = div_ceil(s.slots(), tiling.step_slots());
        let begin = |block: u32| div_rem(units * block as u64, blocks as u64).0;
        let mut cursor = Self {
            unit: begin(block),
            end: begin(block + 1),
            line: 0,
            batch_group: 0,
            channel_group: 0,
            split: 0,
            step: 0,
            step_end: 0,
            chunk: 0,
            chunks: div_ceil(s.in_tiles(), tiling.in_tiles),
            steps,
            split_steps: div_ceil(steps, tiling.splits),
            channel_groups,
            batch_groups,
            half_frequency: 0,
            spectra: 0,
            folded: 0,
        };
        cursor.decode(p, strict);
        cursor
    }

    /// Everything from the unit's number.
    #[inline(always)]
    fn decode(&mut self, p: &SpectralEnergy, strict: bool) {
        let (s, tiling) = (&p.spectrum, &p.tiling);
        let (rest, split) = div_rem(self.unit, tiling.splits as u64);
        let (rest, channel_group) = div_rem(rest, self.channel_groups as u64);
        let (line, batch_group) = div_rem(rest, self.batch_groups as u64);
        (self.line, self.batch_group) = (line as u32, batch_group as u32);
        (self.channel_group, self.split) = (channel_group as u32, split as u32);
        let line = p.first_line + self.line;
        let (fo, fr) = if strict { s.strict_line(line) } else { s.plain_line(line) };
        self.half_frequency = fr;
        self.spectra = (fo * s.half() + fr) as u64 * s.rows() as u64 * s.slots() as u64;
        let tile =
            (self.line as u64 * self.channel_groups as u64 + self.channel_group as u64) * tiling.channel_tiles as u64;
        self.folded = tile * s.in_tiles() as u64;
        self.enter_split();
    }

    #[inline(always)]
    fn enter_split(&mut self) {
        let steps = self.steps;
        self.step = self.split * self.split_steps;
        let end = if self.step + self.split_steps < steps { self.step + self.split_steps } else { steps };
        // A split without steps reads nothing, and adds zeros.
        self.step_end = if end > self.step { end } else { self.step + 1 };
        self.chunk = 0;
    }

    /// False past the last stage of the block.
    #[inline(always)]
    pub fn exists(&self) -> bool {
        self.unit < self.end
    }

    /// The next stage.
    #[inline(always)]
    pub fn advance(&mut self, p: &SpectralEnergy, strict: bool) {
        self.chunk += 1;
        if self.chunk == self.chunks {
            self.chunk = 0;
            self.step += 1;
            if self.step == self.step_end {
                self.unit += 1;
                self.split += 1;
                if self.split < p.tiling.splits {
                    self.enter_split();
                } else {
                    self.decode(p, strict);
                }
            }
        }
    }

    /// The first chunk of its step.
    #[inline(always)]
    pub fn starts_step(&self) -> bool {
        self.chunk == 0
    }

    /// The last chunk of its step.
    #[inline(always)]
    pub fn ends_step(&self) -> bool {
        self.chunk + 1 == self.chunks
    }

    /// The last stage of its unit.
    #[inline(always)]
    pub fn ends_unit(&self) -> bool {
        self.ends_step() && self.step + 1 == self.step_end
    }

    /// Whether the block's next unit adds to the same sum.
    #[inline(always)]
    pub fn goes_on(&self, p: &SpectralEnergy) -> bool {
        self.split + 1 < p.tiling.splits && self.unit + 1 < self.end
    }

    /// The same for stages that use the same folded taps, and for no others of the launch.
    #[inline(always)]
    pub fn taps_tag(&self) -> u32 {
        (self.line * self.channel_groups + self.channel_group) * self.chunks + self.chunk
    }

    /// The unit's part, from the launch's first.
    #[inline(always)]
    pub fn part(&self, p: &SpectralEnergy) -> u64 {
        (self.line as u64 * self.batch_groups as u64 + self.batch_group as u64) * p.tiling.splits as u64
            + self.split as u64
    }

    /// The number in the line of the step's group `group`: 0 is the one of fp = 0.
    #[inline(always)]
    pub fn line_group(&self, p: &SpectralEnergy, group: u32) -> u32 {
        self.step * (p.tiling.step_slots() / 4) + group
    }

    /// Whether the row has slots of this group.
    #[inline(always)]
    pub fn group_exists(&self, p: &SpectralEnergy, group: u32) -> bool {
        self.line_group(p, group) * 4 < p.spectrum.slots()
    }

    /// Tiles of input channels of the chunk.
    #[inline(always)]
    pub fn tiles(&self, p: &SpectralEnergy) -> u32 {
        let rest = p.spectrum.in_tiles() - self.chunk * p.tiling.in_tiles;
        if rest < p.tiling.in_tiles { rest } else { p.tiling.in_tiles }
    }

    /// Where the launch's `folded_low` has the two vectors of a tile of output channels (of the group) and a tile of ci.
    #[inline(always)]
    pub fn folded_low(&self, p: &SpectralEnergy, tile: u32, in_tile: u32) -> u64 {
        (self.folded_tile(p, tile) + in_tile as u64) * 256
    }

    /// (line, tile of output channels, first tile of ci of the chunk) as one number.
    #[inline(always)]
    fn folded_tile(&self, p: &SpectralEnergy, tile: u32) -> u64 {
        self.folded + (tile * p.spectrum.in_tiles() + self.chunk * p.tiling.in_tiles) as u64
    }
}

#[inline(always)]
fn div_ceil(a: u32, b: u32) -> u32 {
    let (quotient, rest) = div_rem(a as u64, b as u64);
    quotient as u32 + if rest > 0 { 1 } else { 0 }
}

/// The buffers in shared memory. `STRICT` stages have low words too, and taps as f32.
pub struct Stages<'a, const STRICT: bool> {
    p: &'a SpectralEnergy,
    /// Words of a step's spectra, high words alone.
    half_words: u32,
    /// Words of the spectra, the taps and the coefficients of a stage.
    spectra_words: u32,
    taps_words: u32,
    coefficients: u32,
    copies: Copies,
}

/// Which groups of four slots a thread copies: those of one group of the step and one image, of every `stride`-th channel.
/// Neighbouring threads have neighbouring groups of a row, then the images, then the channels.
#[derive(Clone, Copy)]
struct Copies {
    group: u32,
    image: u32,
    channel: u32,
    /// 8 for two groups a step, 4 for four.
    stride: u32,
    /// Words from the buffer to the place of its first channel, and to that of its second.
    places: [u32; 2],
    /// Words from a line to those of its first channel and image.
    first: u64,
}

impl<'a, const STRICT: bool> Stages<'a, STRICT> {
    const WORDS: u32 = if STRICT { 2 } else { 1 };

    /// As [`Tiling::shared_bytes`](crate::spectral_energy::Tiling::shared_bytes) counts them.
    #[inline(always)]
    pub fn new(p: &'a SpectralEnergy) -> Self {
        let tiling = &p.tiling;
        let half_words = tiling.in_tiles * TILE * BATCH * tiling.step_slots();
        let taps_words = tiling.in_tiles * tiling.channel_tiles * p.spectrum.basis() * 128 * Self::WORDS;
        let coefficients = tiling.step_slots() / 4 * coefficient_words(&p.spectrum, STRICT);
        let pieces = tiling.step_slots() / 4; // 2 or 4
        let (group, row) = (thread_idx_x() & (pieces - 1), thread_idx_x() >> (pieces / 2));
        let (image, channel, stride) = (row % BATCH, row / BATCH, (256 / BATCH) >> (pieces / 2));
        let place = |channel| slots_offset(tiling.in_tiles, group, channel, image);
        let pitch = p.spectrum.shape.batch as u64 * p.spectrum.slots() as u64;
        let copies = Copies {
            group,
            image,
            channel,
            stride,
            places: [place(channel), place(channel + stride)],
            first: channel as u64 * pitch + (image * p.spectrum.slots() + 4 * group) as u64,
        };
        Self { p, half_words, spectra_words: half_words * Self::WORDS, taps_words, coefficients, copies }
    }

    #[inline(always)]
    fn spectra(&self, buffer: u32) -> Shared<u32> {
        Shared::dynamic(0).offset(buffer * self.spectra_words)
    }

    /// The folded taps of a tile of output channels and a tile of ci: `[basis][lane]` vectors of 4 words (strict: of 8).
    #[inline(always)]
    pub fn taps(&self, buffer: u32, tile: u32, in_tile: u32) -> Shared<u32> {
        let tile = (tile * self.p.tiling.in_tiles + in_tile) * self.p.spectrum.basis() * 128 * Self::WORDS;
        Shared::dynamic(0).offset(2 * self.spectra_words + buffer * self.taps_words + tile)
    }

    /// The coefficients of a group of the step.
    #[inline(always)]
    pub fn coefficients(&self, buffer: u32, group: u32) -> Shared<u32> {
        let at = group * coefficient_words(&self.p.spectrum, STRICT);
        Shared::dynamic(0).offset(2 * (self.spectra_words + self.taps_words) + buffer * self.coefficients + at)
    }

    /// A row of 16 numbers a warp.
    #[inline(always)]
    pub fn sums(&self) -> Shared<f32> {
        let words = 2 * (self.spectra_words + self.taps_words + self.coefficients);
        Shared::dynamic(4 * words)
    }

    /// Four slots of X[ci of the chunk, image]: the group's, high words; `low_words` further are the low ones.
    #[inline(always)]
    pub fn slots(&self, buffer: u32, group: u32, channel: u32, image: u32) -> Shared<u32> {
        self.spectra(buffer).offset(slots_offset(self.p.tiling.in_tiles, group, channel, image))
    }

    /// From a high word to its low word.
    #[inline(always)]
    pub fn low_words(&self) -> u32 {
        self.half_words
    }

    /// Starts the copies of a stage, and closes their group.
    ///
    /// # Safety
    /// The cursor's stage exists; nobody reads or copies into these buffers.
    #[inline(always)]
    pub unsafe fn bring(&self, stage: &Cursor, buffer: u32, taps: u32, load_taps: bool) {
        let (p, s, tiling) = (self.p, &self.p.spectrum, &self.p.tiling);
        // SAFETY: rows and slots inside the arrays are copied, zeros elsewhere; places are inside the buffers.
        unsafe {
            self.bring_spectra(stage, p.high.offset(stage.spectra), buffer, 0);
            if STRICT {
                let line = (p.first_line + stage.line) as u64;
                let low = p.low.offset(line * s.rows() as u64 * s.slots() as u64);
                self.bring_spectra(stage, low, buffer, self.half_words);
            }
            let mut at = thread_idx_x() * 4;
            while at < self.coefficients {
                let first = stage.line_group(p, 0) as u64 * coefficient_words(s, STRICT) as u64;
                let all = (s.slots() / 4) as u64 * coefficient_words(s, STRICT) as u64;
                let taken = if first + (at as u64) < all { 16 } else { 0 };
                let source = p.coefficients.offset(if taken == 16 { first + at as u64 } else { 0 });
                async_copy::copy_padded_through_l2(self.coefficients(buffer, 0).offset(at), source, taken);
                at += 4 * 256;
            }
            if load_taps {
                let tile_words = s.basis() * 128 * Self::WORDS;
                let words = stage.tiles(p) * tile_words;
                let mut tile = 0;
                while tile < tiling.channel_tiles {
                    let first = stage.folded_tile(p, tile);
                    let (source, place) = (p.folded.offset(first * tile_words as u64), self.taps(taps, tile, 0));
                    let mut at = thread_idx_x() * 4;
                    while at < words {
                        async_copy::copy_through_l2(place.offset(at), source.offset(at as u64));
                        at += 4 * 256;
                    }
                    tile += 1;
                }
            }
        }
        async_copy::commit_group();
    }

    /// The groups of four slots that this thread copies: (place, word of the line), no word where there is nothing.
    #[inline(always)]
    fn each_group(&self, stage: &Cursor, buffer: u32, mut each: impl FnMut(Shared<u32>, Option<u64>, u32)) {
        let (s, tiling, copies) = (&self.p.spectrum, &self.p.tiling, &self.copies);
        let b = stage.batch_group * BATCH + copies.image;
        let slot = stage.line_group(self.p, copies.group) * 4;
        let first_channel = stage.chunk * tiling.in_tiles * TILE;
        let exists = b < s.shape.batch && slot < s.slots();
        let in_channels = if exists { s.shape.in_channels } else { 0 };
        let buffer = self.spectra(buffer);
        let (mut now, mut next) = (buffer.offset(copies.places[0]), buffer.offset(copies.places[1]));
        let mut channel = copies.channel;
        let pitch = s.shape.batch as u64 * s.slots() as u64;
        let mut word = copies.first
            + first_channel as u64 * pitch
            + (stage.batch_group * BATCH * s.slots() + slot - 4 * copies.group) as u64;
        let end = stage.tiles(self.p) * TILE;
        while channel < end {
            let ci = first_channel + channel;
            each(now, if ci < in_channels { Some(word) } else { None }, ci);
            // Two strides are a multiple of 8 channels, which the exchange of places has as its period.
            (now, next) = (next, now.offset(2 * copies.stride * BATCH * 8));
            channel += copies.stride;
            word += copies.stride as u64 * pitch;
        }
    }

    #[inline(always)]
    unsafe fn bring_spectra(&self, stage: &Cursor, line: Global<u32>, buffer: u32, words: u32) {
        self.each_group(stage, buffer, |place, source, _| {
            let (at, taken) = match source {
                Some(word) => (word, 16),
                None => (0, 0),
            };
            // SAFETY: row < rows and slot < slots; 16-byte aligned, since rows are multiples of 8 words.
            unsafe { async_copy::copy_padded_through_l2(place.offset(words), line.offset(at), taken) };
        });
    }

    /// Waits for this thread's copies; where rows have different scales, brings what it copied to the common one.
    ///
    /// # Safety
    /// The stage was brought into this buffer, and no other thread accesses it before the next barrier.
    #[inline(always)]
    pub unsafe fn arrived(&self, stage: &Cursor, buffer: u32, scales: &Scales) {
        async_copy::wait_group::<0>();
        if !scales.uniform {
            let p = self.p;
            let b = (stage.batch_group * BATCH + self.copies.image) as u64;
            self.each_group(stage, buffer, |place, source, ci| {
                if source.is_some() {
                    let row = ci as u64 * p.spectrum.shape.batch as u64 + b;
                    // SAFETY: b < B and ci < Cin; the place is one that this thread has just filled.
                    unsafe {
                        let exponent = p.row_exponent.load(row) + p.tap_exponent.load(ci as u64);
                        let factor = half_power_of_two(exponent - scales.maximum);
                        rescale(place, factor);
                        if STRICT {
                            rescale(place.offset(self.half_words), factor);
                        }
                    }
                }
            });
        }
    }
}

/// Four words times a power of two.
#[inline(always)]
unsafe fn rescale(place: Shared<u32>, factor: F16x2) {
    unroll!(i < 4, {
        // SAFETY: the caller's.
        unsafe {
            let word = F16x2::from_bits(place.load(i as u32));
            place.store(i as u32, word.mul(factor).to_bits());
        }
    });
}

/// 2^exponent twice as f16, for exponents of at most 0; 0 below the least subnormal.
#[inline(always)]
fn half_power_of_two(exponent: i32) -> F16x2 {
    let bits = if exponent >= -14 {
        ((exponent + 15) as u32) << 10
    } else if exponent >= -24 {
        1 << ((exponent + 24) as u32)
    } else {
        0
    };
    F16x2::from_bits(bits | bits << 16)
}

/// Words from a buffer of spectra to four slots of a channel and an image.
#[inline(always)]
const fn slots_offset(in_tiles: u32, group: u32, channel: u32, image: u32) -> u32 {
    let eight = group / 2 * in_tiles * TILE * BATCH * 8;
    let row = channel * BATCH + image;
    let place = (row % 4 * 2 + group % 2) ^ swizzle(channel);
    eight + row / 4 * 32 + place * 4
}

/// Which exchange of the 8 places of 128 bytes the rows of a channel have: different for ci / 2 = 0, 1, 2, 3, and such that with
/// two neighbouring images the 8 places are all different.
#[inline(always)]
const fn swizzle(channel: u32) -> u32 {
    let pair = channel / 2 % 4;
    (pair & 1) | (pair / 2) << 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 8 lanes of a 16-byte load that go together touch every bank once.
    #[test]
    fn loads_of_a_group_do_not_conflict() {
        for group in 0..2 {
            for first in 0..2 {
                for quarter in 0..4 {
                    let mut seen = [false; 8];
                    for lane in 8 * quarter..8 * quarter + 8 {
                        let (image, channel) = (lane / 4, 2 * (lane % 4) + first);
                        let row = channel * BATCH + image;
                        let place = (row % 4 * 2 + group) ^ swizzle(channel);
                        assert!(!core::mem::replace(&mut seen[place as usize], true));
                    }
                }
            }
        }
    }

    #[test]
    fn powers_of_two_of_f16() {
        for exponent in -30..=0 {
            let (low, high) = half_power_of_two(exponent).to_halves();
            let (low, high) = (low.to_f32(), high.to_f32());
            assert_eq!(low, high);
            assert_eq!(f64::from(low), if exponent < -24 { 0.0 } else { f64::powi(2.0, exponent) });
        }
    }
}
