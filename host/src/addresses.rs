//! Tensors given by their addresses, and what can be told of these without following one.

use crate::element::{DType, Storage};
use crate::problem::Problem;
use crate::tensors::{InputError, check_running_statistics};

/// The addresses of one call's tensors in the device's memory, C order, lengths as the plan's problem says; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceTensors {
    /// (B, Cin, D, H, W).
    pub input: u64,
    /// (Cin, Cout / groups, Kd, Kh, Kw).
    pub kernel: u64,
    /// (Cout), or 0.
    pub conv_bias: u64,
    /// γ (Cout), or 0.
    pub bn_weight: u64,
    /// β (Cout), or 0.
    pub bn_bias: u64,
    /// (Cout), or 0; updated in place in training.
    pub running_mean: u64,
    /// (Cout), or 0; updated in place in training.
    pub running_var: u64,
    /// Out: (B, Cout).
    pub output: u64,
    /// The output's type; that of `input` where none is said.
    pub output_dtype: Option<DType>,
    /// Out: f64, (Cout), or 0; written where the batch's statistics are used.
    pub batch_mean: u64,
    /// Biased; as `batch_mean`.
    pub batch_var: u64,
}

/// One of them.
pub(crate) struct Address {
    pub tensor: &'static str,
    /// 0 for none.
    pub at: u64,
    /// Bytes of an element: the address must be a multiple of them.
    element: u64,
}

impl DeviceTensors {
    /// All of them, for a problem in `T`.
    pub(crate) fn each<T: Storage>(&self) -> [Address; 10] {
        let (own, wide) = (T::DTYPE, <T::Wide as Storage>::DTYPE);
        let of = |tensor, at, dtype: DType| Address { tensor, at, element: dtype.bytes() as u64 };
        [
            of("input", self.input, own),
            of("kernel", self.kernel, own),
            of("conv_bias", self.conv_bias, own),
            of("bn_weight", self.bn_weight, wide),
            of("bn_bias", self.bn_bias, wide),
            of("running_mean", self.running_mean, wide),
            of("running_var", self.running_var, wide),
            of("output", self.output, self.output_dtype.unwrap_or(own)),
            of("batch_mean", self.batch_mean, DType::F64),
            of("batch_var", self.batch_var, DType::F64),
        ]
    }

    /// Refuses what is missing, what is misaligned, and running statistics that the problem was built without.
    ///
    /// # Errors
    /// The first such tensor, by name.
    pub(crate) fn check<T: Storage>(&self, problem: &Problem) -> Result<(), InputError> {
        let running = problem.has_running_statistics();
        for Address { tensor, at, element } in self.each::<T>() {
            let needed = match tensor {
                "input" | "kernel" | "output" => true,
                "running_mean" | "running_var" => running,
                _ => false,
            };
            if needed && at == 0 {
                return Err(InputError::Null { tensor });
            }
            check_aligned(tensor, at, element)?;
        }
        check_running_statistics(problem, self.running_mean != 0, self.running_var != 0)
    }
}

/// Refuses an address that is no multiple of `element` bytes; 0 is.
pub(crate) fn check_aligned(tensor: &'static str, address: u64, element: u64) -> Result<(), InputError> {
    match address.is_multiple_of(element) {
        true => Ok(()),
        false => Err(InputError::Misaligned { tensor, address, element }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::f16;

    #[test]
    fn what_is_missing_or_askew_is_refused_by_name() {
        let built = |running| Problem::builder_1d([2, 1, 3], [1, 1, 2]).running_statistics(running).build().unwrap();
        let whole = DeviceTensors { input: 64, kernel: 64, output: 64, ..DeviceTensors::default() };
        let running = DeviceTensors { running_mean: 64, running_var: 64, ..whole };
        assert_eq!(whole.check::<f32>(&built(false)), Ok(()));
        assert_eq!(running.check::<f32>(&built(true)), Ok(()));
        let said = |tensors: DeviceTensors, running| tensors.check::<f32>(&built(running)).unwrap_err().to_string();
        assert_eq!(said(DeviceTensors { output: 0, ..whole }, false), "output is a null pointer; it must be given");
        assert_eq!(
            said(DeviceTensors { running_var: 0, ..running }, true),
            "running_var is a null pointer; it must be given"
        );
        assert_eq!(
            said(DeviceTensors { input: 66, ..whole }, false),
            "input is at 0x42; it must be at a multiple of 4"
        );
        assert_eq!(said(running, false), "running statistics are given, and the problem was built without them");
        assert_eq!(
            said(DeviceTensors { running_var: 0, ..running }, false),
            "running_mean is given without running_var; running statistics come as a pair"
        );
        // Elements of two bytes, beside batch normalisation's of four.
        let narrow = DeviceTensors { input: 66, output: 66, ..whole };
        assert_eq!(narrow.check::<f16>(&built(false)), Ok(()));
        let askew = DeviceTensors { bn_weight: 66, ..narrow };
        assert!(matches!(askew.check::<f16>(&built(false)), Err(InputError::Misaligned { element: 4, .. })));
        let in_f32 = DeviceTensors { output_dtype: Some(DType::F32), ..narrow };
        assert!(matches!(in_f32.check::<f16>(&built(false)), Err(InputError::Misaligned { tensor: "output", .. })));
    }
}
