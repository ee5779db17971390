//! A golden case read by the rules of the folder's README, for calls of the library itself.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::str::FromStr;

use convt_bn_gap::draw::{Draw, Draws};
use convt_bn_gap::{KernelShape, Mode, Momentum, Outputs, Problem, ProblemBuilder, Shape5, Tensors, bf16, f16};
use ndarray::{Array1, Array5};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The tensors of a file, all in f64 (which holds every narrower value exactly), and its metadata.
pub struct File {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    pub metadata: HashMap<String, String>,
}

impl File {
    /// Reads the file of a case.
    pub fn read(case: &str) -> File {
        let path = super::path(case);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let values = |dtype, data: &[u8]| -> Vec<f64> {
            match dtype {
                Dtype::F32 => data.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
                Dtype::F64 => data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
                Dtype::F16 => data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f64()).collect(),
                Dtype::BF16 => data.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f64()).collect(),
                other => panic!("{} holds {other:?}", path.display()),
            }
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

    fn volume(&self, name: &str) -> Array5<f64> {
        let (shape, values) = self.tensors.get(name).unwrap_or_else(|| panic!("the file has no {name}"));
        let shape: [usize; 5] = shape[..].try_into().expect("five axes");
        Array5::from_shape_vec(shape, values.clone()).expect("values of the shape")
    }

    fn vector(&self, name: &str) -> Option<Array1<f64>> {
        self.tensors.get(name).map(|(_, values)| Array1::from_vec(values.clone()))
    }

    /// One number an axis.
    fn triple(&self, name: &str) -> [i64; 3] {
        let text = self.option::<String>(name);
        let numbers: Vec<i64> = text.split(',').map(|n| n.parse().expect("an integer")).collect();
        numbers.try_into().expect("three axes")
    }

    /// The problem that the metadata states.
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
            out_channels: size("out_channels") / size("groups"),
            depth: size("kernel_d"),
            height: size("kernel_h"),
            width: size("kernel_w"),
        };
        assert_eq!(self.option::<String>("mode"), "train");
        let builder = Problem::builder(input, kernel)
            .stride(self.triple("stride"))
            .padding(self.triple("padding"))
            .output_padding(self.triple("output_padding"))
            .dilation(self.triple("dilation"))
            .groups(self.option("groups"))
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
    /// The problem's shapes and options, running statistics given, to be changed.
    pub fn builder(&self) -> ProblemBuilder {
        let (problem, conv) = (&self.problem, self.problem.convolution());
        Problem::builder(problem.input(), problem.kernel())
            .stride(conv.stride)
            .padding(conv.padding)
            .output_padding(conv.output_padding)
            .dilation(conv.dilation)
            .groups(conv.groups)
            .scale_factor(problem.scale_factor())
            .eps(problem.eps())
            .mode(problem.mode())
            .running_statistics(true)
    }

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
