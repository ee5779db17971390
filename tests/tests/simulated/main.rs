//! The host's whole CUDA path without a GPU: on a driver whose one device is the SIMT executor, and which fails when told to.
//!
//! A process binds one driver once, so each test runs in a process of its own ([`alone`]).

mod agreement;
mod alone;
mod binding;
mod branch;
mod c_abi;
mod c_plans;
mod caller;
mod device;
mod faults;
mod lost;
mod nonfinite;
mod plans;
mod session;
mod spectral;
mod tool;
