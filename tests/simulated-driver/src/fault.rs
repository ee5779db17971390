//! Failures to order: which call fails, and how.

/// When a [`Fault`] happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The n-th call from now, whichever it is; 1 is the next.
    Call(u64),
    /// The n-th call from now of the function of that name.
    Of(&'static str, u64),
}

/// A call that fails once instead of doing its work. One that gives something back still takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which call.
    pub point: Point,
    /// What it returns.
    pub code: u32,
    /// Whether the context is lost with it: every later call that uses the context returns the code too.
    pub sticky: bool,
}

impl Fault {
    /// The n-th call of `function` returns `code`, and the next is well again.
    pub fn of(function: &'static str, n: u64, code: u32) -> Self {
        Self { point: Point::Of(function, n), code, sticky: false }
    }

    /// The n-th call, whichever it is.
    pub fn call(n: u64, code: u32) -> Self {
        Self { point: Point::Call(n), code, sticky: false }
    }

    /// The same, and the context is lost.
    pub fn sticky(self) -> Self {
        Self { sticky: true, ..self }
    }

    /// Counts a call of `function`; whether it is the one.
    pub(crate) fn meets(&mut self, function: &str) -> bool {
        let left = match &mut self.point {
            Point::Call(left) => left,
            Point::Of(name, left) if *name == function => left,
            Point::Of(..) => return false,
        };
        *left = left.saturating_sub(1);
        *left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_call_is_met() {
        let mut fault = Fault::of("cuMemAlloc_v2", 2, 2);
        let met = ["cuMemAlloc_v2", "cuMemFree_v2", "cuMemAlloc_v2"].map(|function| fault.meets(function));
        assert_eq!(met, [false, false, true]);
        let mut fault = Fault::call(2, 999).sticky();
        assert_eq!([fault.meets("cuInit"), fault.meets("cuInit"), fault.sticky], [false, true, true]);
    }
}
