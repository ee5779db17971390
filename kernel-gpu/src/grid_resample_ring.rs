//! What [`grid_resample`](crate::grid_resample) brings to shared memory ahead of its sums: a ring of slots a warp, one step each.
//!
//! ```text
//! slot    [pair of ±fo, four][fo, −fo][32 numbers]   then the factors of the step's fr, and in a group's last step those of its ±fo
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

    use crate::grid_resample::{GridResample, PAIRS};
    use crate::grid_resample_factors::{PITCH, outer_rows};
    use crate::grid_resample_shares::device::Share;
    use crate::spectrum::div_rem;

    /// The next step to ask for: what of it this lane copies, 16 bytes of two of the eight lines, and of the factors.
    pub(crate) struct Ahead<'a> {
        p: &'a GridResample,
        /// The lane's 16 bytes of the launch's first line.
        base: u64,
        /// The tile's factors: those of the launch's first fr for the first four lanes, of the first ±fo for the others.
        factors: Global<f32>,
        /// The step, and the one past the warp's last.
        step: u32,
        end: u32,
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

    /// Lanes that copy the factors of fr.
    const OF_HALF: u32 = PITCH / 4;
    /// And those of a group of ±fo.
    const OF_OUTER: u32 = PAIRS * PITCH / 4;

    impl<'a> Ahead<'a> {
        /// From step `step` to `end` of the launch's.
        #[inline(always)]
        pub(crate) fn new(p: &'a GridResample, share: &Share, (step, end): (u32, u32)) -> Self {
            let (lane, (first, columns)) = (lane_index(), p.frequencies());
            let (group, fr) = div_rem(step, columns);
            let half = p.half.offset(((share.tiles[1] * p.inputs + first) * PITCH + 4 * lane) as u64);
            let outer = p
                .outer
                .offset((share.tiles[0] * outer_rows(p.column) * PITCH + 4 * lane.saturating_sub(OF_HALF)) as u64);
            let factors = if lane < OF_HALF { half } else { outer };
            let base = p.input.offset(share.place - lane as u64 + 4 * (lane % 8) as u64).address();
            let (line, from, taken) = ([0; 2], [0; 2], [0; 2]);
            let mut ahead = Self { p, base, factors, step, end, group, fr, columns, line, from, taken };
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
            self.step += 1;
            self.fr += 1;
            let (lane, closes) = (lane_index(), self.fr == self.columns || self.step == self.end);
            if lane < OF_HALF || (closes && lane < OF_HALF + OF_OUTER) {
                let place = if lane < OF_HALF { (self.fr - 1) * PITCH } else { self.group * PAIRS * PITCH };
                // SAFETY: a row of the factors of fr, or the group's rows, whose places are behind the lines.
                unsafe { copy::<16, _>(to.offset(2 * PAIRS * 32), self.factors.offset(place as u64)) };
            }
            if self.fr == self.columns {
                self.fr = 0;
                self.group += 1;
                self.turn();
            }
        }
    }
}
