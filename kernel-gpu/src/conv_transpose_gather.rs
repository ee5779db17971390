//! How the values of a step of [`conv_transpose_moments`](crate::conv_transpose_moments) come to shared memory, by way of registers.
//!
//! ```text
//! X[k, p] = x[b, ci, p − k]      W[k, c] = w[ci, c, k]      k = (ci, kd, kh, kw), eight a step; 0 where there is none
//! X[k, p] = x[b, ci, (p + padding − k·dilation)/stride]     with options, where that is an element; ci of the group of c
//! stage    [k of 8][128 positions] of X, then [k of 8][channel row] of W, in A
//! ```
//!
//! A thread has one position and every few k of X, one k and every few channels of W. f16 and bf16 stay as they are in registers, and are widened on
//! their way into shared memory. With options it divides for every x that it gathers.

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::unroll;

    use crate::conv_shape::{OutputPosition, div_rem};
    use crate::conv_transpose_moments::device::{Block, Part};
    use crate::element::Value;
    use crate::tap_cursor::TapCursor;
    use crate::tile::{POSITIONS, STEP};

    /// The values of the next step on their way from global to shared memory (as many as the tile's loads say).
    pub struct InFlight<T: Value> {
        x: [T::Bits; 8],
        w: [T::Bits; 4],
    }

    impl<T: Value> InFlight<T> {
        /// None.
        #[inline(always)]
        pub fn none() -> Self {
            Self { x: [T::Bits::default(); 8], w: [T::Bits::default(); 4] }
        }
    }

    /// Where a thread reads next: its position and k of X, its k of W. With options a position is its coordinates and their
    /// padding alone.
    pub struct Gather {
        position: OutputPosition,
        cursor: TapCursor,
        channel: u32,
        tap: u32,
    }

    impl<T: Value, A: Float, const MICRO: usize, const THREADS: u32, const OPTIONS: bool>
        Block<'_, T, A, MICRO, THREADS, OPTIONS>
    {
        /// Where this thread starts reading for a tile: X at position `thread mod 128` and row `thread / 128`, W at row
        /// `thread mod 8` (so that 8 lanes read 8 neighbouring taps) and channel `thread / 8`.
        #[inline(always)]
        pub fn gather(&self, first: u64) -> Gather {
            let shape = &self.parameters.shape;
            let p = first + (self.thread % POSITIONS) as u64;
            let position = if OPTIONS {
                // Past the last position nothing is met: all differences wrap.
                let coordinate = self.parameters.options.position(p).unwrap_or([u32::MAX; 3]);
                OutputPosition { coordinate, offset: 0 }
            } else {
                OutputPosition::new(p, shape)
            };
            let mut cursor = TapCursor::START;
            cursor.advance(self.warp * 32 / POSITIONS, shape);
            let (channel, tap) = div_rem((self.thread % STEP) as u64, shape.taps() as u64);
            Gather { position, cursor, channel: channel as u32, tap: tap as u32 }
        }

        /// With options: the place of the X of `gather`, in elements of the input.
        #[inline(always)]
        fn source(&self, gather: &Gather, part: Part) -> Option<u64> {
            let (shape, cursor) = (&self.parameters.shape, &gather.cursor);
            if cursor.channel >= self.in_channels() {
                return None;
            }
            let channel = part.group * self.in_channels() + cursor.channel;
            let volume = part.batch as u64 * shape.in_channels as u64 + channel as u64;
            let element = self.parameters.options.source(gather.position.coordinate, cursor.tap, shape.input)?;
            Some(volume * shape.volume() + element)
        }

        /// With options: whether the tap of `gather` carries anything.
        #[inline(always)]
        fn carries(&self, gather: &Gather) -> bool {
            let shape = &self.parameters.shape;
            let (line, k2) = div_rem(gather.tap as u64, shape.kernel[2] as u64);
            let (k0, k1) = div_rem(line, shape.kernel[1] as u64);
            self.parameters.options.carries([k0 as u32, k1 as u32, k2 as u32], shape.input)
        }

        /// Reads one step's values of X and W into registers, 0 where there are none, and moves on.
        ///
        /// # Safety
        /// The input and the kernel hold the shape's elements; the part is one of them.
        #[inline(always)]
        pub unsafe fn bring(&self, gather: &mut Gather, part: Part) -> InFlight<T> {
            // SAFETY: the caller's promise.
            unsafe {
                match self.parameters.input.is_narrow() {
                    true => self.bring_in::<true>(gather, part),
                    false => self.bring_in::<false>(gather, part),
                }
            }
        }

        #[inline(always)]
        unsafe fn bring_in<const NARROW: bool>(&self, gather: &mut Gather, part: Part) -> InFlight<T> {
            let (parameters, shape) = (self.parameters, &self.parameters.shape);
            let mut flight = InFlight::none();
            let image = (part.batch as u64 * shape.in_channels as u64 * shape.volume()) as i64;
            unroll!(i < Self::TILE.position_loads() as usize, {
                if OPTIONS {
                    if let Some(at) = self.source(gather, part) {
                        // SAFETY: ci < Cin and an element of the volume, so at < B·Cin·V.
                        flight.x[i] = unsafe { parameters.input.bits::<NARROW>(at) };
                    }
                } else if gather.cursor.channel < shape.in_channels && gather.position.meets(gather.cursor.tap, shape) {
                    let at = (image + gather.position.offset + gather.cursor.delta) as u64;
                    // SAFETY: ci < Cin and p − k inside the volume, so at < B·Cin·V.
                    flight.x[i] = unsafe { parameters.input.bits::<NARROW>(at) };
                }
                gather.cursor.advance(Self::TILE.rows_at_once(), shape);
            });
            let taps = shape.taps();
            let carries = !OPTIONS || self.carries(gather);
            unroll!(i < Self::TILE.channel_loads() as usize, {
                let channel = part.channel + self.thread / STEP + i as u32 * (Self::TILE.threads() / STEP);
                if gather.channel < self.in_channels() && channel < self.out_channels() && carries {
                    let row = part.group * self.in_channels() + gather.channel;
                    let row = row as u64 * self.out_channels() as u64 + channel as u64;
                    // SAFETY: ci < Cin, c < Cout/groups, tap < taps, so the index is below Cin·Cout/groups·taps.
                    flight.w[i] = unsafe { parameters.kernel.bits::<NARROW>(row * taps as u64 + gather.tap as u64) };
                }
            });
            gather.tap += STEP;
            while gather.tap >= taps {
                gather.tap -= taps;
                gather.channel += 1;
            }
            flight
        }

        /// Writes what [`Self::bring`] read into a stage.
        ///
        /// # Safety
        /// Nobody reads the stage, which is the first or the second.
        #[inline(always)]
        pub unsafe fn put(&self, stage: u32, flight: &InFlight<T>) {
            // SAFETY: the caller's promise.
            unsafe {
                match self.parameters.input.is_narrow() {
                    true => self.put_in::<true>(stage, flight),
                    false => self.put_in::<false>(stage, flight),
                }
            }
        }

        #[inline(always)]
        unsafe fn put_in<const NARROW: bool>(&self, stage: u32, flight: &InFlight<T>) {
            let (input, kernel) = (self.parameters.input, self.parameters.kernel);
            let at = self.stages.offset(stage * Self::TILE.stage_elements());
            let x = at.offset(self.thread);
            unroll!(i < Self::TILE.position_loads() as usize, {
                let value = A::from_f64(input.widen::<NARROW>(flight.x[i]).to_f64());
                // SAFETY: rows 0..8 of 128; thread + i·threads enumerates them.
                unsafe { x.store(i as u32 * Self::TILE.threads(), value) };
            });
            let w = at.offset(Self::W + self.thread % STEP * Self::TILE.channel_row() + self.thread / STEP);
            unroll!(i < Self::TILE.channel_loads() as usize, {
                let value = A::from_f64(kernel.widen::<NARROW>(flight.w[i]).to_f64());
                // SAFETY: row thread mod 8, channel thread/8 + i·threads/8 < channels.
                unsafe { w.store(i as u32 * (Self::TILE.threads() / STEP), value) };
            });
        }
    }
}
