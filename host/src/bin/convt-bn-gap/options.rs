//! The operation's options: from the command line, else from the file's metadata, else PyTorch's defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use clap::Args;
use convt_bn_gap::{KernelShape, Mode, Momentum, Problem, ProblemBuilder, ProblemError, Shape5};

/// The options as the command line may give them.
#[derive(Args, Clone, Debug, Default)]
pub struct OptionArguments {
    /// train (batch statistics) or eval (running statistics) [PyTorch: train].
    #[arg(long)]
    mode: Option<ModeName>,
    /// Multiplies the convolution's output [1].
    #[arg(long, allow_hyphen_values = true)]
    scale_factor: Option<f64>,
    /// Added to the variance [1e-5].
    #[arg(long, allow_hyphen_values = true)]
    eps: Option<f64>,
    /// Weight of the batch in the running statistics, or none for the cumulative average [0.1].
    #[arg(long, allow_hyphen_values = true)]
    momentum: Option<MomentumValue>,
    #[command(flatten)]
    convolution: ConvolutionArguments,
}

/// The convolution's options as the command line may give them.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ConvolutionArguments {
    /// D,H,W or one number for all three [1].
    #[arg(long, allow_hyphen_values = true, value_name = "D,H,W")]
    stride: Option<Triple>,
    /// D,H,W or one number for all three [0].
    #[arg(long, allow_hyphen_values = true, value_name = "D,H,W")]
    padding: Option<Triple>,
    /// D,H,W or one number for all three [0].
    #[arg(long, allow_hyphen_values = true, value_name = "D,H,W")]
    output_padding: Option<Triple>,
    /// D,H,W or one number for all three [1].
    #[arg(long, allow_hyphen_values = true, value_name = "D,H,W")]
    dilation: Option<Triple>,
    /// Groups of channels [1].
    #[arg(long, allow_hyphen_values = true)]
    groups: Option<i64>,
}

impl ConvolutionArguments {
    /// Whether any is given.
    pub fn are_given(&self) -> bool {
        *self != Self::default()
    }

    /// A problem with these options.
    pub fn apply(&self, problem: ProblemBuilder) -> ProblemBuilder {
        let triple = |given: Option<Triple>, otherwise| given.map_or([otherwise; 3], |triple| triple.0);
        problem
            .stride(triple(self.stride, 1))
            .padding(triple(self.padding, 0))
            .output_padding(triple(self.output_padding, 0))
            .dilation(triple(self.dilation, 1))
            .groups(self.groups())
    }

    /// Groups of channels.
    pub fn groups(&self) -> i64 {
        self.groups.unwrap_or(1)
    }
}

/// Every option with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    mode: ModeName,
    scale_factor: f64,
    eps: f64,
    momentum: MomentumValue,
    num_batches_tracked: Option<u64>,
    stride: Triple,
    padding: Triple,
    output_padding: Triple,
    dilation: Triple,
    groups: i64,
}

impl Options {
    /// Chooses each option's value; a malformed one in the metadata is refused by name.
    pub fn resolve(given: &OptionArguments, metadata: &BTreeMap<String, String>) -> Result<Self> {
        Ok(Self {
            mode: choose(given.mode, metadata, "mode", ModeName::Train)?,
            scale_factor: choose(given.scale_factor, metadata, "scale_factor", 1.0)?,
            eps: choose(given.eps, metadata, "eps", 1e-5)?,
            momentum: choose(given.momentum, metadata, "momentum", MomentumValue::Factor(0.1))?,
            num_batches_tracked: from_metadata(metadata, "num_batches_tracked")?,
            stride: choose(given.convolution.stride, metadata, "stride", Triple([1; 3]))?,
            padding: choose(given.convolution.padding, metadata, "padding", Triple([0; 3]))?,
            output_padding: choose(given.convolution.output_padding, metadata, "output_padding", Triple([0; 3]))?,
            dilation: choose(given.convolution.dilation, metadata, "dilation", Triple([1; 3]))?,
            groups: choose(given.convolution.groups, metadata, "groups", 1)?,
        })
    }

    /// The checked problem of these options.
    pub fn problem(
        &self,
        input: Shape5,
        kernel: KernelShape,
        running_statistics: bool,
    ) -> Result<Problem, ProblemError> {
        let momentum = match self.momentum {
            MomentumValue::Factor(factor) => Momentum::Factor(factor),
            MomentumValue::Cumulative => {
                Momentum::Cumulative { num_batches_tracked: self.num_batches_tracked.unwrap_or(0) }
            }
        };
        let mode = match self.mode {
            ModeName::Train => Mode::Train { momentum },
            ModeName::Eval => Mode::Eval,
        };
        // Refused in eval mode too, where nothing is updated.
        momentum.check()?;
        Problem::builder(input, kernel)
            .mode(mode)
            .scale_factor(self.scale_factor)
            .eps(self.eps)
            .running_statistics(running_statistics)
            .stride(self.stride.0)
            .padding(self.padding.0)
            .output_padding(self.output_padding.0)
            .dilation(self.dilation.0)
            .groups(self.groups)
            .build()
    }

    /// The options as metadata that `resolve` reads back to the same values, as they are after this step.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        let mut metadata: BTreeMap<String, String> = [
            ("mode", self.mode.to_string()),
            ("scale_factor", self.scale_factor.to_string()),
            ("eps", self.eps.to_string()),
            ("momentum", self.momentum.to_string()),
            ("stride", self.stride.to_string()),
            ("padding", self.padding.to_string()),
            ("output_padding", self.output_padding.to_string()),
            ("dilation", self.dilation.to_string()),
            ("groups", self.groups.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let counts = self.momentum == MomentumValue::Cumulative;
        if let Some(before) = self.num_batches_tracked.or(counts.then_some(0)) {
            // Counted up by a training step, as PyTorch's buffer is, whatever the momentum.
            let tracked = before.saturating_add(u64::from(self.mode == ModeName::Train));
            metadata.insert("num_batches_tracked".to_owned(), tracked.to_string());
        }
        metadata
    }
}

/// One value from a file's metadata, refused by name where it is malformed.
pub fn from_metadata<T>(metadata: &BTreeMap<String, String>, name: &str) -> Result<Option<T>>
where
    T: FromStr<Err: fmt::Display>,
{
    let Some(text) = metadata.get(name) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|error| anyhow!("the metadata's {name} is {text:?}: {error}"))
}

fn choose<T>(given: Option<T>, metadata: &BTreeMap<String, String>, name: &str, default: T) -> Result<T>
where
    T: FromStr<Err: fmt::Display>,
{
    match given {
        Some(value) => Ok(value),
        None => Ok(from_metadata(metadata, name)?.unwrap_or(default)),
    }
}

/// The two modes of batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ModeName {
    /// Batch statistics.
    Train,
    /// Running statistics.
    Eval,
}

impl FromStr for ModeName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "train" => Ok(Self::Train),
            "eval" => Ok(Self::Eval),
            _ => Err("it must be train or eval"),
        }
    }
}

impl fmt::Display for ModeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Eval => "eval",
        })
    }
}

/// A momentum, or PyTorch's `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MomentumValue {
    /// The weight of the batch.
    Factor(f64),
    /// The average of all batches so far.
    Cumulative,
}

impl FromStr for MomentumValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" | "None" => Ok(Self::Cumulative),
            _ => text.parse().map(Self::Factor).map_err(|_| "it must be a number or none"),
        }
    }
}

impl fmt::Display for MomentumValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Factor(factor) => factor.fmt(f),
            Self::Cumulative => f.write_str("none"),
        }
    }
}

/// One integer an axis: depth, height, width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Triple(pub [i64; 3]);

impl FromStr for Triple {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = "it must be three integers D,H,W or one for all three";
        let numbers: Vec<i64> = text
            .trim_matches(['(', ')', '[', ']'])
            .split(',')
            .map(|number| number.trim().parse().map_err(|_| malformed))
            .collect::<Result<_, _>>()?;
        match numbers[..] {
            [all] => Ok(Self([all; 3])),
            [d, h, w] => Ok(Self([d, h, w])),
            _ => Err(malformed),
        }
    }
}

impl fmt::Display for Triple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [d, h, w] = self.0;
        write!(f, "{d},{h},{w}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_defaults() {
        let given = OptionArguments { eps: Some(0.5), ..OptionArguments::default() };
        let options = Options::resolve(&given, &metadata(&[("eps", "0.25"), ("scale_factor", "-2.5")]));
        let options = options.expect("well-formed metadata");
        assert_eq!((options.eps, options.scale_factor), (0.5, -2.5));
        assert_eq!(options.momentum, MomentumValue::Factor(0.1));
        assert_eq!((options.stride, options.padding), (Triple([1; 3]), Triple([0; 3])));
    }

    #[test]
    fn metadata_round_trips() {
        let pairs = [("eps", "1e-05"), ("momentum", "None"), ("num_batches_tracked", "4"), ("mode", "train")];
        let options = Options::resolve(&OptionArguments::default(), &metadata(&pairs)).expect("well-formed metadata");
        let again = Options::resolve(&OptionArguments::default(), &options.to_metadata()).expect("our own metadata");
        assert_eq!(again, Options { num_batches_tracked: Some(5), ..options });
    }

    #[test]
    fn malformed_metadata_is_named() {
        for (name, value) in [
            ("eps", "small"),
            ("mode", "test"),
            ("stride", "1,2"),
            ("momentum", ""),
            ("groups", "1.5"),
            ("padding", "x"),
        ] {
            let refused = Options::resolve(&OptionArguments::default(), &metadata(&[(name, value)]));
            let said = refused.expect_err("must be refused").to_string();
            assert!(said.contains(name) && said.contains(&format!("{value:?}")), "{said}");
        }
    }
}
