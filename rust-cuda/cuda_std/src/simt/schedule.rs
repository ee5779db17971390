//! The order in which threads and blocks take their turns.

/// Who runs first where the program leaves it open. The same schedule gives the same run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// Thread 0 first, block 0 first.
    #[default]
    InOrder,
    /// The last thread first, the last block first.
    Reversed,
    /// In an order drawn anew at every turn from this seed. A test that fails prints it.
    Random(u64),
}

/// A [`Schedule`] being followed.
pub(super) struct Order {
    schedule: Schedule,
    state: u64,
}

impl Order {
    pub(super) fn new(schedule: Schedule) -> Self {
        let state = if let Schedule::Random(seed) = schedule { seed } else { 0 };
        Self { schedule, state }
    }

    /// Puts what stands in ascending order into this turn's order.
    pub(super) fn arrange<T>(&mut self, turns: &mut [T]) {
        match self.schedule {
            Schedule::InOrder => {}
            Schedule::Reversed => turns.reverse(),
            // Fisher and Yates.
            Schedule::Random(_) => {
                for i in (1..turns.len()).rev() {
                    turns.swap(i, (self.draw() % (i as u64 + 1)) as usize);
                }
            }
        }
    }

    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(schedule: Schedule) -> Vec<u32> {
        let mut turns: Vec<u32> = (0..20).collect();
        Order::new(schedule).arrange(&mut turns);
        turns
    }

    #[test]
    fn every_thread_has_its_turn_and_a_seed_repeats() {
        assert_eq!(arranged(Schedule::InOrder), (0..20).collect::<Vec<_>>());
        assert_eq!(arranged(Schedule::Reversed), (0..20).rev().collect::<Vec<_>>());
        let random = arranged(Schedule::Random(7));
        assert_eq!(arranged(Schedule::Random(7)), random);
        assert_ne!(arranged(Schedule::Random(8)), random);
        let mut sorted = random.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        assert_ne!(random, sorted);
    }
}
