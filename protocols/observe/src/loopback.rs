//! Addresses that only this machine reaches.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address on loopback. Text: `127.0.0.1:9100`, `[::1]:9100`, or a port alone, `9100`, for the first.
///
/// Metrics and dashboards have no passwords: who is to see them from elsewhere comes through what has (`ssh -L`, a proxy).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Loopback(SocketAddr);

impl Loopback {
    /// The address.
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

impl TryFrom<SocketAddr> for Loopback {
    type Error = ParseLoopbackError;

    fn try_from(address: SocketAddr) -> Result<Self, ParseLoopbackError> {
        match address.ip().is_loopback() {
            true => Ok(Self(address)),
            false => Err(ParseLoopbackError::Elsewhere { address }),
        }
    }
}

impl FromStr for Loopback {
    type Err = ParseLoopbackError;

    fn from_str(text: &str) -> Result<Self, ParseLoopbackError> {
        if let Ok(port) = text.parse::<u16>() {
            return Ok(Self((IpAddr::V4(Ipv4Addr::LOCALHOST), port).into()));
        }
        let address: SocketAddr = text.parse().map_err(|_| ParseLoopbackError::NoAddress)?;
        address.try_into()
    }
}

impl TryFrom<String> for Loopback {
    type Error = ParseLoopbackError;

    fn try_from(text: String) -> Result<Self, ParseLoopbackError> {
        text.parse()
    }
}

impl From<Loopback> for String {
    fn from(loopback: Loopback) -> Self {
        loopback.to_string()
    }
}

impl fmt::Display for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no address on loopback.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseLoopbackError {
    /// Others could reach it.
    #[error(
        "{address} can be reached from other machines, and there is no password: use 127.0.0.1 or [::1]"
    )]
    Elsewhere {
        /// The address.
        address: SocketAddr,
    },
    /// No address.
    #[error("not an address: write 127.0.0.1:PORT, [::1]:PORT or PORT")]
    NoAddress,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_reaches_it() {
        for (text, shown) in [
            ("9100", "127.0.0.1:9100"),
            ("127.0.0.2:0", "127.0.0.2:0"),
            ("[::1]:9", "[::1]:9"),
        ] {
            let parsed: Result<Loopback, _> = text.parse();
            assert_eq!(parsed.map(|a| a.to_string()), Ok(shown.to_owned()));
        }
        for text in ["0.0.0.0:9100", "[::]:9100", "192.168.0.1:1"] {
            let refused = text.parse::<Loopback>();
            assert!(
                matches!(refused, Err(ParseLoopbackError::Elsewhere { .. })),
                "{text}"
            );
        }
        for text in ["", "localhost:1", "99999", "127.0.0.1"] {
            assert_eq!(
                text.parse::<Loopback>(),
                Err(ParseLoopbackError::NoAddress),
                "{text}"
            );
        }
    }

    #[test]
    fn a_configuration_file_has_it_as_text() {
        let read: Result<Loopback, _> = serde_json::from_str("\"127.0.0.1:9\"");
        let written = read.map(|address| serde_json::to_string(&address).ok());
        assert_eq!(written.ok().flatten().as_deref(), Some("\"127.0.0.1:9\""));
        assert!(serde_json::from_str::<Loopback>("\"10.0.0.1:9\"").is_err());
    }
}
