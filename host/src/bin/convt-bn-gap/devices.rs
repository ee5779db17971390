//! `devices`: what there is to compute on.

use clap::Args;
use convt_bn_gap::{Device, Error};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::report;

/// List the devices there are.
#[derive(Args)]
pub struct Arguments {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Lists the CPU, and every CUDA device or the reason why there is none.
pub fn devices(arguments: &Arguments) -> Result<(), Failure> {
    let cpu = Device::cpu().name();
    let (cuda, reason) = match cuda_devices() {
        Ok(cuda) => (cuda, None),
        Err(Error::Unavailable(reason)) => (Vec::new(), Some(reason.to_string())),
        Err(failure) => (Vec::new(), Some(failure.to_string())),
    };
    let text = if arguments.json {
        let mut devices = vec![json!({ "device": "cpu", "name": cpu, "threads": rayon::current_num_threads() })];
        devices.extend(cuda.into_iter().map(|device| device.json));
        json!({ "devices": devices, "cuda_unavailable": reason }).to_string()
    } else {
        let mut lines = vec![cpu];
        lines.extend(cuda.into_iter().map(|device| device.line));
        lines.extend(reason.map(|reason| format!("no cuda: {reason}")));
        lines.join("\n")
    };
    Ok(report::print(&text)?)
}

/// A CUDA device, in words and as an object.
struct Listed {
    line: String,
    json: Value,
}

#[cfg(feature = "cuda")]
fn cuda_devices() -> Result<Vec<Listed>, Error> {
    let list = |facts: convt_bn_gap::cuda::DeviceFacts| {
        let device = format!("cuda:{}", facts.ordinal);
        let (major, minor) = facts.compute_capability;
        let (driver_major, driver_minor) = facts.driver;
        let gib = facts.memory as f64 / f64::from(1 << 30);
        Listed {
            line: format!(
                "{device} ({}, compute capability {major}.{minor}, {gib:.0} GiB, driver for CUDA \
                 {driver_major}.{driver_minor})",
                facts.name,
            ),
            json: json!({
                "device": device,
                "name": facts.name,
                "compute_capability": format!("{major}.{minor}"),
                "multiprocessors": facts.multiprocessors,
                "memory_bytes": facts.memory,
                "driver_cuda": format!("{driver_major}.{driver_minor}"),
            }),
        }
    };
    Ok(convt_bn_gap::cuda::devices()?.into_iter().map(list).collect())
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> Result<Vec<Listed>, Error> {
    Err(Error::Unavailable(convt_bn_gap::Unavailable::NotBuilt))
}
