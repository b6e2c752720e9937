//! Amounts: money, sizes and time. Each is its own type so that none is passed for another.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Money in the smallest unit; 1 AIL = 10^12 planck. Arithmetic is checked.
///
/// In configuration and JSON it is a text such as `"0.002 AIL"`: neither has 128-bit numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Planck(pub u128);

impl Serialize for Planck {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Planck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return text.parse().map_err(D::Error::custom);
        }
        u128::deserialize(deserializer).map(Self)
    }
}

impl Planck {
    /// Planck in one AIL.
    pub const PER_AIL: u128 = 1_000_000_000_000;
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Whole AIL.
    pub const fn ail(whole: u64) -> Self {
        // 2^64 * 10^12 < 2^104, so this cannot overflow.
        Self(whole as u128 * Self::PER_AIL)
    }

    /// `self + other`, or `None` on overflow.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self - other`, or `None` when `other` is larger.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// `self * times`, or `None` on overflow.
    pub const fn checked_mul(self, times: u64) -> Option<Self> {
        match self.0.checked_mul(times as u128) {
            Some(product) => Some(Self(product)),
            None => None,
        }
    }

    /// The sum of `amounts`, or `None` on overflow.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }
}

impl fmt::Display for Planck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Self::PER_AIL, self.0 % Self::PER_AIL);
        if rest == 0 {
            return write!(f, "{whole} AIL");
        }
        let digits = format!("{rest:012}");
        write!(f, "{whole}.{} AIL", digits.trim_end_matches('0'))
    }
}

impl FromStr for Planck {
    type Err = AmountError;

    /// Reads `1.25 AIL`, `1.25AIL`, or a bare number of planck (`1250000000000`).
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let malformed = || AmountError::Malformed {
            text: text.chars().take(64).collect(),
        };
        let Some(number) = text.trim().strip_suffix("AIL") else {
            let digits = text.trim();
            return decimal(digits)
                .ok_or_else(malformed)?
                .map(Self)
                .ok_or(AmountError::TooLarge);
        };
        let number = number.trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if fraction.len() > 12 {
            return Err(AmountError::TooFine {
                digits: fraction.len(),
            });
        }
        let whole: u128 = decimal(whole)
            .ok_or_else(malformed)?
            .ok_or(AmountError::TooLarge)?;
        let fraction: u128 = decimal(&format!("{fraction:0<12}"))
            .filter(|_| !fraction.is_empty())
            .flatten()
            .ok_or_else(malformed)?;
        whole
            .checked_mul(Self::PER_AIL)
            .and_then(|planck| planck.checked_add(fraction))
            .map(Self)
            .ok_or(AmountError::TooLarge)
    }
}

/// `None`: not decimal digits; `Some(None)`: too large.
fn decimal<T: FromStr>(digits: &str) -> Option<Option<T>> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok())
}

/// Why a text is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a number.
    #[error("`{text}` is not an amount: write `1.25 AIL`, or a whole number of planck")]
    Malformed {
        /// What was given, cut to 64 characters.
        text: String,
    },
    /// More than twelve decimals.
    #[error("{digits} decimals given, but 1 AIL has only 12")]
    TooFine {
        /// Decimals given.
        digits: usize,
    },
    /// Does not fit 128 bits of planck.
    #[error("the amount is larger than any that exists")]
    TooLarge,
}

/// A size in bytes.
///
/// In configuration it may be written as a text such as `"2 GiB"`, or as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Mebibytes.
    pub const fn mib(mib: u32) -> Self {
        Self((mib as u64) << 20)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl FromStr for Bytes {
    type Err = SizeError;

    /// Reads `2 GiB`, `512MiB`, `64 KiB`, `100 B`, or a bare number of bytes.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        const UNITS: [(&str, u32); 5] =
            [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];
        let malformed = || SizeError {
            text: text.chars().take(64).collect(),
        };
        let trimmed = text.trim();
        let (number, shift) = UNITS
            .iter()
            .find_map(|(unit, shift)| Some((trimmed.strip_suffix(unit)?, *shift)))
            .unwrap_or((trimmed, 0));
        decimal(number.trim_end())
            .flatten()
            .filter(|number: &u64| *number <= u64::MAX >> shift)
            .map(|number| Self(number << shift))
            .ok_or_else(malformed)
    }
}

/// The text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a size: write `2 GiB`, `512 MiB`, or a whole number of bytes")]
pub struct SizeError {
    /// What was given, cut to 64 characters.
    pub text: String,
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// Milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The time `duration` later, or the last representable one.
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long after `earlier` this is; zero when it is before it.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for UnixMillis {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
