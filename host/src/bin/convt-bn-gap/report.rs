//! Where words go: results to stdout, remarks to stderr.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};
use convt_bn_gap::{Backend, Problem};

/// Prints a result and a line end. A reader that closed the pipe has seen enough: that is no error.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written =
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// Prints a remark on stderr; where nobody can read it, it is dropped.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The nine sizes in the order of `bench --shape`, with all output channels.
pub fn shape_numbers(problem: &Problem) -> [usize; 9] {
    let (input, kernel) = (problem.input(), problem.kernel());
    [
        input.batch,
        input.channels,
        problem.out_channels(),
        input.depth,
        input.height,
        input.width,
        kernel.depth,
        kernel.height,
        kernel.width,
    ]
}

/// The shapes as a reader would say them.
pub fn shape_in_words(problem: &Problem) -> String {
    let [batch, in_channels, out_channels, d, h, w, kd, kh, kw] = shape_numbers(problem);
    let [od, oh, ow] = problem.output_extents();
    format!(
        "input {batch} × {in_channels} × {d}×{h}×{w}, kernel {kd}×{kh}×{kw}, convolution {batch} × {out_channels} × \
         {od}×{oh}×{ow}"
    )
}

/// A time with a unit that suits it.
pub fn milliseconds(ms: f64) -> String {
    if ms >= 1e3 {
        format!("{:.2} s", ms / 1e3)
    } else if ms >= 1.0 {
        format!("{ms:.3} ms")
    } else {
        format!("{:.1} µs", ms * 1e3)
    }
}

/// Where something ran: the backend, and the device's name where that does not begin with it.
pub fn place(backend: Backend, device: &str) -> String {
    let backend = backend.to_string();
    if device.starts_with(&backend) { device.to_owned() } else { format!("{backend} ({device})") }
}
