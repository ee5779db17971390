//! A GPU architecture as the compiler names it: `sm_80`, `sm_90a`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A target of the PTX: compute capability and, for what one generation alone has, its feature letter.
///
/// PTX for `sm_80` runs on every GPU of capability 8.0 and up; PTX for `sm_90a` runs on capability 9.0 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Arch {
    capability: u32,
    suffix: Option<char>,
}

#[allow(non_upper_case_globals)]
impl Arch {
    /// Ampere: the baseline.
    pub const Sm80: Self = Self { capability: 80, suffix: None };
    /// Hopper with what only Hopper has: `wgmma`, `setmaxnreg`.
    pub const Sm90a: Self = Self { capability: 90, suffix: Some('a') };

    /// Ten times the compute capability: 80 for 8.0.
    pub fn capability(self) -> u32 {
        self.capability
    }
}

/// What was given is no architecture name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no GPU architecture: expected sm_ and a number, as in sm_80 or sm_90a")]
pub struct ParseArchError(pub String);

impl FromStr for Arch {
    type Err = ParseArchError;

    fn from_str(text: &str) -> Result<Self, ParseArchError> {
        let error = || ParseArchError(text.to_owned());
        let number = text.strip_prefix("sm_").ok_or_else(error)?;
        let (digits, suffix) = match number.strip_suffix(['a', 'f']) {
            Some(digits) => (digits, number.chars().last()),
            None => (number, None),
        };
        let plain = (2..=3).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        let capability = digits.parse().map_err(|_| error())?;
        plain.then_some(Self { capability, suffix }).ok_or_else(error)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.capability)?;
        self.suffix.map_or(Ok(()), |suffix| write!(f, "{suffix}"))
    }
}

impl TryFrom<String> for Arch {
    type Error = ParseArchError;

    fn try_from(text: String) -> Result<Self, ParseArchError> {
        text.parse()
    }
}

impl From<Arch> for String {
    fn from(arch: Arch) -> Self {
        arch.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for name in ["sm_80", "sm_90a", "sm_100f", "sm_121a"] {
            assert_eq!(name.parse::<Arch>().unwrap().to_string(), name);
        }
        assert_eq!("sm_80".parse(), Ok(Arch::Sm80));
        assert_eq!("sm_90a".parse(), Ok(Arch::Sm90a));
    }

    #[test]
    fn anything_else_is_refused() {
        for name in ["", "80", "sm_", "sm_a", "sm_8", "sm_080", "sm_8000", "sm_+80", "sm_90b", "SM_80", "sm_90aa"] {
            assert_eq!(name.parse::<Arch>(), Err(ParseArchError(name.to_owned())));
        }
    }
}
