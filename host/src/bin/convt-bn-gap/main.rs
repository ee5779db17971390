//! `convt-bn-gap`: ConvTranspose3d → scale → BatchNorm3d → global average pooling from the command line.
//!
//! One file a command. Results go to stdout, progress and remarks to stderr, and the exit code says how it ended:
//! 0 done, 1 a check failed, 2 bad input or usage, 3 the device failed.

mod arguments;
mod bandwidth;
mod bench;
mod call;
mod demo;
mod devices;
mod failure;
mod io;
mod options;
mod progress;
mod recipe;
mod report;
mod run;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// ConvTranspose3d, scale, BatchNorm3d and global average pooling as one fused operation.
///
/// Exit codes: 0 done, 1 a check failed, 2 bad input or usage, 3 the device failed.
#[derive(Parser)]
#[command(name = "convt-bn-gap", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::Arguments>),
    Verify(verify::Arguments),
    Bench(bench::Arguments),
    Demo(demo::Arguments),
    Devices(devices::Arguments),
}

fn main() -> ExitCode {
    survive_file_size_limits();
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(refusal) => {
            // Help and version go to stdout and are no failure; that the reader closed it is none either.
            let _ = refusal.print();
            return if refusal.use_stderr() { Failure::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let ended = match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Verify(arguments) => verify::verify(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Devices(arguments) => devices::devices(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::remark(&format!("error: {}", failure.sentence()));
            failure.exit_code().into()
        }
    }
}

/// A write past the file size limit (`ulimit -f`) should fail like one on a full disk, not end the process.
fn survive_file_size_limits() {
    #[cfg(unix)]
    // SAFETY: SIG_IGN is a valid disposition for SIGXFSZ, and no other thread runs yet.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
