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

use clap::error::ErrorKind;
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
    Bench(Box<bench::Arguments>),
    Demo(demo::Arguments),
    Devices(devices::Arguments),
}

fn main() -> ExitCode {
    survive_file_size_limits();
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(refusal) => {
            if !refusal.use_stderr() || refusal.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                // Help and version; that the reader closed stdout is no failure.
                let _ = refusal.print();
                return if refusal.use_stderr() { Failure::USAGE.into() } else { ExitCode::SUCCESS };
            }
            report::remark(&usage_sentence(&refusal.to_string()));
            return Failure::USAGE.into();
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

/// What clap says up to its first empty line, which is what is wrong; the usage and tips that follow are in `--help`.
fn usage_sentence(text: &str) -> String {
    text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A write past the file size limit (`ulimit -f`) should fail like one on a full disk, not end the process.
fn survive_file_size_limits() {
    #[cfg(unix)]
    // SAFETY: SIG_IGN is a valid disposition for SIGXFSZ, and no other thread runs yet.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
