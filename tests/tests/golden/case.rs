//! A golden case read by the rules of the folder's README, for calls of the library itself.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::str::FromStr;

use convt_bn_gap::draw::{Draw, Draws};
use convt_bn_gap::{Element, KernelShape, Mode, Momentum, Outputs, Problem, Shape5, Tensors};
use ndarray::{Array1, Array5};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The tensors of a file, all in f64 (which holds every narrower value exactly), and its metadata.
pub struct File {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    pub metadata: HashMap<String, String>,
}

impl File {
    /// Reads the file of a case; tensors of 16 bits are left empty, no case with them is computed here.
    pub fn read(case: &str) -> File {
        let path = super::path(case);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let values = |dtype, data: &[u8]| match dtype {
            Dtype::F32 => data.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
            Dtype::F64 => data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
            _ => Vec::new(),
        };
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        File {
            tensors: tensors
                .iter()
                .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(view.dtype(), view.data()))))
                .collect(),
            metadata: header.metadata().clone().unwrap_or_default(),
        }
    }

    /// The names of the tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    fn option<V: FromStr>(&self, name: &str) -> V {
        let text = self.metadata.get(name).unwrap_or_else(|| panic!("the metadata has no {name}"));
        text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
    }

    fn volume<T: Element>(&self, name: &str) -> Array5<T> {
        let (shape, values) = self.tensors.get(name).unwrap_or_else(|| panic!("the file has no {name}"));
        let shape: [usize; 5] = shape[..].try_into().expect("five axes");
        Array5::from_shape_vec(shape, values.iter().map(|&v| T::from_f64(v)).collect()).expect("values of the shape")
    }

    fn vector<T: Element>(&self, name: &str) -> Option<Array1<T>> {
        self.tensors.get(name).map(|(_, values)| values.iter().map(|&v| T::from_f64(v)).collect())
    }

    /// The problem that the metadata states. Stride and the like are the golden cases' defaults wherever this is used.
    fn problem(&self) -> Problem {
        let size = |name| self.option::<usize>(name);
        let input = Shape5 {
            batch: size("batch_size"),
            channels: size("in_channels"),
            depth: size("depth"),
            height: size("height"),
            width: size("width"),
        };
        let kernel = KernelShape {
            in_channels: size("in_channels"),
            out_channels: size("out_channels"),
            depth: size("kernel_d"),
            height: size("kernel_h"),
            width: size("kernel_w"),
        };
        assert_eq!(self.option::<String>("mode"), "train");
        let builder = Problem::builder(input, kernel)
            .scale_factor(self.option("scale_factor"))
            .eps(self.option("eps"))
            .mode(Mode::Train { momentum: Momentum::Factor(self.option("momentum")) })
            .running_statistics(self.tensors.contains_key("expected.running_var"));
        builder.build().expect("a supported case")
    }

    /// The draws of a file's recipe.
    fn recipe(&self) -> Option<Draws> {
        let recipe: Value = serde_json::from_str(self.metadata.get("recipe")?).expect("a JSON object");
        let draw = |name: &str| {
            let draw = recipe.get(name)?.clone();
            let (seed, lo, hi) = serde_json::from_value(draw).expect("[seed, lo, hi]");
            Some(Draw { seed, lo, hi })
        };
        Some(Draws {
            input: draw("input").expect("a draw of the input"),
            kernel: draw("kernel").expect("a draw of the kernel"),
            conv_bias: draw("conv_bias"),
            bn_weight: draw("bn_weight"),
            bn_bias: draw("bn_bias"),
            running_mean: draw("running_mean"),
            running_var: draw("running_var"),
        })
    }
}

/// A case in training mode, ready to compute in f64, with what PyTorch computed.
pub struct Case {
    pub problem: Problem,
    pub tensors: Tensors<f64>,
    pub expected: Outputs<f64>,
}

impl Case {
    pub fn read(case: &str) -> Case {
        let file = File::read(case);
        let problem = file.problem();
        let tensors = match file.recipe() {
            Some(draws) => draws.tensors(&problem).expect("a case that fits"),
            None => Tensors {
                input: file.volume("input"),
                kernel: file.volume("kernel"),
                conv_bias: file.vector("conv_bias"),
                bn_weight: file.vector("bn_weight"),
                bn_bias: file.vector("bn_bias"),
                running_mean: file.vector("running_mean"),
                running_var: file.vector("running_var"),
            },
        };
        let expected = Outputs {
            output: file.volume("expected.output"),
            batch_mean: file.vector("expected.batch_mean"),
            batch_var: file.vector("expected.batch_var"),
            running_mean: file.vector("expected.running_mean"),
            running_var: file.vector("expected.running_var"),
        };
        Case { problem, tensors, expected }
    }
}
