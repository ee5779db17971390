//! Running the tool, and the small files it is run on.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use convt_bn_gap_tests::cli;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use tempfile::TempDir;

/// How a run of the tool ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the tool prints UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ended {
    /// Asserts success and returns stdout.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// Asserts success and returns the one JSON value on stdout.
    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.done();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Asserts that it ended with `code` and said `words` in one sentence on stderr, and nothing on stdout.
    #[track_caller]
    pub fn refused(self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        let said: Vec<&str> = self.stderr.lines().filter(|line| !line.starts_with("note: ")).collect();
        let [sentence] = said[..] else { panic!("not one sentence: {}", self.stderr) };
        assert!(sentence.starts_with("error: ") && sentence.contains(words), "{sentence:?} does not say {words:?}");
        assert!(!sentence.contains("panicked") && !sentence.contains("backtrace"), "{sentence}");
        assert_eq!(self.stdout, "");
    }
}

/// Runs the tool with arguments that are separated by spaces.
pub fn tool(arguments: &str) -> Ended {
    tool_on(arguments, &[] as &[&Path])
}

/// The same, with paths: one for each `{}` among the arguments, the others after them.
pub fn tool_on(arguments: &str, paths: &[impl AsRef<Path>]) -> Ended {
    let mut paths = paths.iter().map(|path| path.as_ref().as_os_str());
    let mut command = Command::new(cli());
    for argument in arguments.split_whitespace() {
        match argument {
            "{}" => command.arg(paths.next().expect("a path for each {}")),
            plain => command.arg(plain),
        };
    }
    command.args(paths).output().expect("the tool starts").into()
}

/// Whether the machine has a CUDA device, as the tool sees it.
pub fn has_cuda() -> bool {
    tool("devices --json").json()["cuda_unavailable"].is_null()
}

/// A folder for a test's files.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The names in a folder, to see that nothing is left over.
pub fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A safetensors file in the making.
#[derive(Clone, Default)]
pub struct File {
    pub tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    pub metadata: HashMap<String, String>,
}

impl File {
    /// Batch 3, 4 → 5 channels, 4×5×3 input and 2×3×2 kernel, all operands in f32.
    pub fn small() -> Self {
        let mut file = Self::default();
        file.f32("input", &[3, 4, 4, 5, 3]).f32("kernel", &[4, 5, 2, 3, 2]);
        for name in ["conv_bias", "bn_weight", "bn_bias", "running_mean", "running_var"] {
            file.f32(name, &[5]);
        }
        file
    }

    /// Sets a tensor of the shape, with values in (0, 1) that differ.
    pub fn f32(&mut self, name: &str, shape: &[usize]) -> &mut Self {
        let bytes = values(shape).flat_map(|v| (v as f32).to_le_bytes()).collect();
        self.bytes(name, Dtype::F32, shape, bytes)
    }

    /// The same in f64.
    pub fn f64(&mut self, name: &str, shape: &[usize]) -> &mut Self {
        let bytes = values(shape).flat_map(f64::to_le_bytes).collect();
        self.bytes(name, Dtype::F64, shape, bytes)
    }

    /// Sets a tensor to given bytes.
    pub fn bytes(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> &mut Self {
        self.tensors.insert(name.to_owned(), (dtype, shape.to_vec(), bytes));
        self
    }

    /// Leaves a tensor out.
    pub fn without(&mut self, name: &str) -> &mut Self {
        self.tensors.remove(name);
        self
    }

    /// Sets an option in the metadata.
    pub fn option(&mut self, name: &str, value: &str) -> &mut Self {
        self.metadata.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A tensor's values, of either floating type, in f64.
    #[track_caller]
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        let (dtype, _, bytes) = self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"));
        match dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
            Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
            other => panic!("{name} is {other}"),
        }
    }

    /// Sets a tensor to given values in f64, in its old shape.
    pub fn set_numbers(&mut self, name: &str, numbers: &[f64]) -> &mut Self {
        let shape = self.tensors[name].1.clone();
        self.bytes(name, Dtype::F64, &shape, numbers.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// The same in f32.
    pub fn set_f32(&mut self, name: &str, numbers: &[f64]) -> &mut Self {
        let shape = self.tensors[name].1.clone();
        self.bytes(name, Dtype::F32, &shape, numbers.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect())
    }

    /// Makes input and kernel zeros of a 16-bit type.
    pub fn narrow(&mut self, dtype: Dtype) -> &mut Self {
        for name in ["input", "kernel"] {
            let (_, shape, bytes) = self.tensors[name].clone();
            self.bytes(name, dtype, &shape, vec![0; bytes.len() / 2]);
        }
        self
    }

    /// The file's bytes.
    pub fn serialize(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("bytes of the shape"))
        });
        safetensors::serialize(views, Some(self.metadata.clone())).expect("a small file")
    }

    /// Writes the file into a folder.
    pub fn save(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, self.serialize()).expect("a writable folder");
        path
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        Self {
            tensors: tensors
                .iter()
                .map(|(name, view)| (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
                .collect(),
            metadata: header.metadata().clone().unwrap_or_default(),
        }
    }
}

/// A fixed sequence of fractions; it does not repeat within a million values.
fn values(shape: &[usize]) -> impl Iterator<Item = f64> {
    let golden_ratio = 0.618_033_988_749_894_8;
    (1..=shape.iter().product::<usize>()).map(move |i| (i as f64 * golden_ratio).fract())
}

/// A `.npy` file with a given header dictionary.
pub fn npy(folder: &Path, name: &str, dictionary: &str, body: &[u8]) -> PathBuf {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padding = (64 - (10 + dictionary.len() + 1) % 64) % 64;
    let header = format!("{dictionary}{}\n", " ".repeat(padding));
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a writable folder");
    path
}
