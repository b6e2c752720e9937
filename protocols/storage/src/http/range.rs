//! Range headers.
//!
//! Requests say `bytes=s-e`, `bytes=s-` or `bytes=-n` (the last n bytes) in `Range` or, as DeOSS
//! wants it, in `Content-Range`. Answers say `bytes s-e/size`. Ends are inclusive.

use std::ops::Range;

/// A requested range. Several ranges in one request are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RangeHeader {
    /// From a byte, inclusive, up to a byte, inclusive, or the end.
    From { first: u64, last: Option<u64> },
    /// The last so many bytes.
    Last(u64),
}

/// Why a header is not a range. The words are those of DeOSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RangeError {
    #[error("invalid range value")]
    Value,
    #[error("invalid range start")]
    Start,
    #[error("invalid range end")]
    End,
}

impl RangeHeader {
    pub(crate) fn parse(header: &str) -> Result<Self, RangeError> {
        let range = header
            .trim()
            .strip_prefix("bytes=")
            .ok_or(RangeError::Value)?;
        let (first, last) = range.split_once('-').ok_or(RangeError::Value)?;
        match (first, last) {
            ("", "") => Err(RangeError::Value),
            ("", last) => Ok(Self::Last(number(last).ok_or(RangeError::End)?)),
            (first, "") => Ok(Self::From {
                first: number(first).ok_or(RangeError::Start)?,
                last: None,
            }),
            (first, last) => {
                let first = number(first).ok_or(RangeError::Start)?;
                let last = number(last).ok_or(RangeError::End)?;
                if last < first {
                    return Err(RangeError::End);
                }
                Ok(Self::From {
                    first,
                    last: Some(last),
                })
            }
        }
    }

    /// Which bytes of an object of `size` bytes are meant, end exclusive; `None` if none of them.
    pub(crate) fn within(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first, last } => {
                first..last.map_or(size, |last| last.saturating_add(1).min(size))
            }
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// The header `Content-Range` of an answer.
pub(crate) fn content_range(range: &Range<u64>, size: u64) -> String {
    format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    )
}

/// Reads the header `Content-Range` of an answer: the range, end exclusive, and the object's size.
pub(crate) fn parse_content_range(header: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size) = (number(first)?, number(last)?, number(size)?);
    (first <= last && last < size).then_some((first..last + 1, size))
}

/// Reads a range as CESS's miners want it, `bytes=start-end/total`, end exclusive, of something that
/// has `total` bytes.
pub(crate) fn parse_exclusive(header: &str, total: u64) -> Option<Range<u64>> {
    let (range, size) = header.trim().strip_prefix("bytes=")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (number(start)?, number(end)?);
    (number(size)? == total && start < end && end <= total).then_some(start..end)
}

/// Digits only: `str::parse` would take `+1` too.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        let parse = |header| RangeHeader::parse(header).map(|range| range.within(100));
        assert_eq!(parse("bytes=0-0"), Ok(Some(0..1)));
        assert_eq!(parse("bytes=5-9"), Ok(Some(5..10)));
        assert_eq!(parse("bytes=5-1000"), Ok(Some(5..100)));
        assert_eq!(parse("bytes=99-"), Ok(Some(99..100)));
        assert_eq!(parse("bytes=100-"), Ok(None));
        assert_eq!(parse("bytes=-1"), Ok(Some(99..100)));
        assert_eq!(parse("bytes=-1000"), Ok(Some(0..100)));
        assert_eq!(parse("bytes=-0"), Ok(None));
        assert_eq!(parse("bytes=0-18446744073709551615"), Ok(Some(0..100)));
    }

    #[test]
    fn what_is_not_a_range_is_refused() {
        for (header, error) in [
            ("", RangeError::Value),
            ("0-1", RangeError::Value),
            ("bytes=", RangeError::Value),
            ("bytes=-", RangeError::Value),
            ("items=0-1", RangeError::Value),
            ("bytes=a-1", RangeError::Start),
            ("bytes=+1-2", RangeError::Start),
            ("bytes=1-b", RangeError::End),
            ("bytes=2-1", RangeError::End),
            ("bytes=0-1,3-4", RangeError::End),
            ("bytes=0-18446744073709551616", RangeError::End),
        ] {
            assert_eq!(RangeHeader::parse(header), Err(error), "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_not(header in "(bytes=)?[0-9a-z,+ -]{0,30}|\\PC{0,40}", size: u64) {
            if let Some(range) = RangeHeader::parse(&header).ok().and_then(|h| h.within(size)) {
                prop_assert!(range.start < range.end && range.end <= size);
                let answer = content_range(&range, size);
                prop_assert_eq!(parse_content_range(&answer), Some((range, size)));
            }
            let _ = parse_content_range(&header);
        }
    }
}
