//! What [`grid_resample`](crate::grid_resample) brings to shared memory ahead of its sums: a ring of slots a warp, one step each.
//!
//! ```text
//! slot    [pair of ±fo, four][fo, −fo][32 numbers]   then the factors of the step's fr
//! ```
//!
//! Lines that the launch does not have, and −fo where it is fo, are zeros.

pub mod device {
    //! The device code.
    use cuda_std::async_copy::{copy, copy_padded_through_l2};
    use cuda_std::global::Global;
    use cuda_std::shared::Shared;
    use cuda_std::thread::lane_index;
    use cuda_std::unroll;

    use crate::grid_resample::device::Share;
    use crate::grid_resample::{GridResample, PAIRS, PITCH};

    /// The next step to ask for: what of it this lane copies, 16 bytes of two of the eight lines, and of the factors.
    pub(crate) struct Ahead<'a> {
        p: &'a GridResample,
        /// The lane's 16 bytes of the launch's first line.
        base: u64,
        /// The tile's factors of the launch's first fr, the lane's 16 bytes.
        half: Global<f32>,
        group: u32,
        /// fr among the launch's, and how many those are.
        fr: u32,
        columns: u32,
        /// The lines among the launch's: past them for those that it does not have.
        line: [u32; 2],
        /// The addresses of the lane's 16 bytes of them.
        from: [u64; 2],
        /// Bytes to copy: none where fo = −fo is there already.
        taken: [u32; 2],
    }

    impl<'a> Ahead<'a> {
        #[inline(always)]
        pub(crate) fn new(p: &'a GridResample, share: &Share, (group, fr): (u32, u32)) -> Self {
            let (lane, (first, columns)) = (lane_index(), p.frequencies());
            let row = (share.tiles[1] * p.inputs + first) as u64;
            let half = p.half.offset(row * PITCH as u64 + 4 * (lane % (PITCH / 4)) as u64);
            let base = p.input.offset(share.place - lane as u64 + 4 * (lane % 8) as u64).address();
            let mut ahead = Self { p, base, half, group, fr, columns, line: [0; 2], from: [0; 2], taken: [0; 2] };
            ahead.turn();
            ahead
        }

        /// To the lines of its group and fr.
        #[inline(always)]
        fn turn(&mut self) {
            let (p, lane) = (self.p, lane_index());
            let skipped = p.first_line - p.frequencies().0 * p.column;
            unroll!(k < 2, {
                let pair = self.group * PAIRS + 2 * k as u32 + lane / 16;
                let mirrored = lane / 8 % 2 == 1;
                let exists = pair <= p.column / 2 && !(mirrored && (pair == 0 || 2 * pair == p.column));
                let fo = if mirrored { p.column.wrapping_sub(pair) } else { pair };
                // Before the first line it is negative, and so past the last.
                let line = (self.fr * p.column).wrapping_add(fo).wrapping_sub(skipped);
                self.line[k] = line;
                self.from[k] = self.base.wrapping_add((line as i32 as u64).wrapping_mul(4 * p.inner()));
                self.taken[k] = if exists { 16 } else { 0 };
            });
        }

        /// Starts this lane's copies of the step, and goes to the next.
        ///
        /// # Safety
        /// The step exists; nobody reads or copies into the slot.
        #[inline(always)]
        pub(crate) unsafe fn bring(&mut self, slot: Shared<f32>) {
            let (p, to) = (self.p, slot.offset(4 * lane_index()));
            unroll!(k < 2, {
                let taken = if self.line[k] < p.lines { self.taken[k] } else { 0 };
                // SAFETY: a line of the launch, or nothing is read; the lane's place among four lines of the slot.
                unsafe { copy_padded_through_l2(to.offset(128 * k as u32), Global::from_address(self.from[k]), taken) };
                self.line[k] = self.line[k].wrapping_add(p.column);
                self.from[k] = self.from[k].wrapping_add(4 * p.inner() * p.column as u64);
            });
            if lane_index() < PITCH / 4 {
                // SAFETY: the step's row of the factors, whose place is behind the lines.
                unsafe { copy::<16, _>(to.offset(2 * PAIRS * 32), self.half.offset((self.fr * PITCH) as u64)) };
            }
            self.fr += 1;
            if self.fr == self.columns {
                self.fr = 0;
                self.group += 1;
                self.turn();
            }
        }
    }
}
