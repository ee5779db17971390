//! How a command may end other than well, and the exit code of each way.

/// What ended a command.
#[derive(Debug)]
pub enum Failure {
    /// A result is outside its bound.
    Check(String),
    /// The input, the options or the output file cannot be used.
    Refused(anyhow::Error),
    /// There is no such device, or it failed.
    Device(anyhow::Error),
}

impl Failure {
    /// The exit code of bad input and usage.
    pub const USAGE: u8 = 2;

    /// 1 a check failed, 2 bad input or usage, 3 the device failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Check(_) => 1,
            Self::Refused(_) => Self::USAGE,
            Self::Device(_) => 3,
        }
    }

    /// What to tell the user, on one line.
    pub fn sentence(&self) -> String {
        match self {
            Self::Check(what) => one_line(what),
            Self::Refused(error) | Self::Device(error) => one_line(&format!("{error:#}")),
        }
    }
}

/// File names and foreign libraries' messages may hold line ends.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(error)
    }
}

impl From<convt_bn_gap::InputError> for Failure {
    fn from(error: convt_bn_gap::InputError) -> Self {
        convt_bn_gap::Error::from(error).into()
    }
}

impl From<convt_bn_gap::Error> for Failure {
    fn from(error: convt_bn_gap::Error) -> Self {
        // As a message: the library's sentences are whole, and anyhow would add their sources once more.
        let sentence = anyhow::Error::msg(error.to_string());
        if error.is_device_failure() { Self::Device(sentence) } else { Self::Refused(sentence) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_one_line() {
        let failure = Failure::from(anyhow::anyhow!("inner\ntext\n").context("cannot read a\nb"));
        assert_eq!(failure.sentence(), "cannot read a b: inner text");
        assert_eq!(failure.exit_code(), 2);
    }
}
