//! A progress bar on stderr where stderr is a terminal, and silence elsewhere (indicatif's own rule).

use indicatif::{ProgressBar, ProgressStyle};

/// The bar of one piece of work; it is erased when dropped.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that begins at nothing done, with what is being done before it.
    pub fn of(work: &str) -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(work.to_owned());
        Self(bar)
    }

    /// The bar at `done` of `total`.
    pub fn set(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
