//! The options that several commands share: which device, which way to compute.

use std::cell::OnceCell;
use std::str::FromStr;

use anyhow::Context;
use clap::{Args, ValueEnum};
use convt_bn_gap::{Algorithm, AlgorithmChoice, Device, PlanOptions, Precision};

use crate::failure::Failure;
use crate::report;

/// Where and how to compute.
#[derive(Args, Clone, Debug)]
pub struct Where {
    /// auto (a GPU where there is one, else the CPU), cpu, cuda, cuda:N, or reference (the definition in f64).
    #[arg(long, default_value = "auto")]
    device: DeviceArgument,
    /// The way to compute; auto takes the best that the device has for this problem.
    #[arg(long, value_enum, default_value_t = AlgorithmArgument::Auto)]
    algorithm: AlgorithmArgument,
    /// strict keeps every step in the input's precision or wider.
    #[arg(long, value_enum, default_value_t = PrecisionArgument::Default)]
    precision: PrecisionArgument,
    /// Workspace in MiB that the spectral algorithm may take, which cuts its work to stay within it, and the direct one on a GPU's tensor
    /// cores, which leaves what is larger to the CUDA cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    workspace_mib: Option<u64>,
    /// Threads that compute on the CPU; else RAYON_NUM_THREADS, else as many as there are processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Where {
    /// Starts the threads, and leaves the device for when there is a problem for it.
    pub fn prepare(&self) -> Result<Place, Failure> {
        if let Some(threads) = self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
            pool.build_global().with_context(|| format!("cannot start {threads} threads"))?;
        }
        Ok(Place { chosen: self.device, opened: OnceCell::new() })
    }

    /// What the library's plan is asked for.
    pub fn plan_options(&self) -> PlanOptions {
        PlanOptions {
            algorithm: match self.algorithm {
                AlgorithmArgument::Auto => AlgorithmChoice::Auto,
                AlgorithmArgument::Spectral => AlgorithmChoice::Force(Algorithm::Spectral),
                AlgorithmArgument::Direct => AlgorithmChoice::Force(Algorithm::Direct),
                AlgorithmArgument::Reference => AlgorithmChoice::Force(Algorithm::Reference),
            },
            precision: match self.precision {
                PrecisionArgument::Default => Precision::Default,
                PrecisionArgument::Strict => Precision::Strict,
            },
            workspace_budget: self.workspace_mib.map(|mib| mib.saturating_mul(1 << 20)),
        }
    }
}

/// A device that is opened when a problem has been checked: what is wrong with one is the same with a GPU and without, and is said
/// before a driver is touched.
pub struct Place {
    chosen: DeviceArgument,
    opened: OnceCell<Device>,
}

impl Place {
    /// The device, opened by the first call. The driver is touched for `auto` and `cuda` alone; that `auto` fell back is said once.
    pub fn device(&self) -> Result<&Device, Failure> {
        if let Some(device) = self.opened.get() {
            return Ok(device);
        }
        let device = match self.chosen {
            DeviceArgument::Auto => Device::auto()?,
            DeviceArgument::Cpu => Device::cpu(),
            DeviceArgument::Cuda(ordinal) => Device::cuda(ordinal)?,
            DeviceArgument::Reference => Device::reference(),
        };
        if let Some(reason) = device.fallback() {
            report::remark(&format!("note: computing on the CPU: {reason}"));
        }
        Ok(self.opened.get_or_init(|| device))
    }

    /// Whether there was a call that succeeded.
    pub fn is_open(&self) -> bool {
        self.opened.get().is_some()
    }
}

/// What the output is rounded to.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum OutputDtype {
    /// The input's type.
    Input,
    /// f32, whatever the input's type is.
    F32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum DeviceArgument {
    Auto,
    Cpu,
    Cuda(usize),
    Reference,
}

impl FromStr for DeviceArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text:?} is not one of auto, cpu, cuda, cuda:N, reference");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "reference" => Ok(Self::Reference),
            _ => {
                let ordinal = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                ordinal.parse().map(Self::Cuda).map_err(|_| unknown())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AlgorithmArgument {
    Auto,
    Spectral,
    Direct,
    Reference,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionArgument {
    Default,
    Strict,
}
