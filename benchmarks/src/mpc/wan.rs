//! An emulated wide-area network among the processes of a run.
//!
//! Four network namespaces, one for each party (the client too has one of its own), joined by the relay of
//! `peers/wanrelay.c`, which is compiled here: in each direction between each two parties a link of the given rate, and
//! half of the round trip as delay. The scripts of `peers/` put other systems behind the same relay. What was made is
//! removed when [`Wan`] is dropped; what a killed run left behind, by the next.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use ai_link_program::LinkProfile;
use anyhow::{Context as _, bail, ensure};

use super::places::{Place, Places};
use super::who::Who;

/// What a network is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WanSpec {
    round_trip: Duration,
    bits: u64,
}

impl WanSpec {
    /// For the planner.
    pub(super) fn link(self) -> LinkProfile {
        LinkProfile {
            round_trip: self.round_trip,
            bandwidth_bits: self.bits,
            ..LinkProfile::LOOPBACK
        }
    }
}

impl FromStr for WanSpec {
    type Err = String;

    /// `40ms,100mbit`.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not like 40ms,100mbit (us, ms, s; kbit, mbit, gbit)");
        let (time, rate) = text.split_once(',').ok_or_else(refused)?;
        let seconds =
            number(time, &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0)]).ok_or_else(refused)?;
        let bits =
            number(rate, &[("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)]).ok_or_else(refused)?;
        match seconds <= 10.0 && (1e3..=1e12).contains(&bits) {
            true => Ok(Self {
                round_trip: Duration::from_secs_f64(seconds),
                bits: bits as u64,
            }),
            false => Err(refused()),
        }
    }
}

/// A number with one of `units` behind it.
fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text
        .trim()
        .trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text.trim()[digits.len()..];
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let number: f64 = digits.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

impl fmt::Display for WanSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, mbit) = (self.round_trip.as_secs_f64() * 1e3, self.bits as f64 / 1e6);
        write!(f, "{ms}ms,{mbit}mbit")
    }
}

/// A running network.
pub(super) struct Wan {
    process: u32,
    relay: Option<Child>,
}

/// First part of the names of namespaces; then the process that made it, and a number.
const PREFIX: &str = "ail-wan";
/// The relay.
const RELAY: &str = include_str!("../../peers/wanrelay.c");

impl Wan {
    /// Makes the network.
    pub(super) fn start(spec: WanSpec) -> anyhow::Result<Self> {
        ensure!(
            is_root(),
            "--wan makes network namespaces, which takes root: run it with sudo"
        );
        remove_abandoned()?;
        let mut wan = Self {
            process: std::process::id(),
            relay: None,
        };
        for who in Who::ALL {
            ip(&["netns", "add", &wan.namespace(who)])?;
        }
        let dir = tempfile::tempdir()?;
        let program = dir.path().join("wanrelay");
        compile(dir.path(), &program)?;
        let mut relay = Command::new(&program)
            .arg((spec.round_trip.as_secs_f64() * 1e3).to_string())
            .arg((spec.bits as f64 / 1e6).to_string())
            .args(Who::ALL.map(|who| wan.namespace(who)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the relay does not start")?;
        let out = relay.stdout.take().context("the relay has no output")?;
        wan.relay = Some(relay);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        ensure!(line == "ready\n", "the relay did not come up: see above");
        Ok(wan)
    }

    fn namespace(&self, who: Who) -> String {
        format!("{PREFIX}-{}-{}", self.process, who as usize)
    }

    /// Everybody's place in it.
    pub(super) fn places(&self) -> Places {
        let place = |who: Who| Place {
            enter: ["ip", "netns", "exec", &self.namespace(who)]
                .map(Into::into)
                .into(),
            ip: Ipv4Addr::new(10, 9, 0, 1 + who as u8).into(),
        };
        Places::new(Who::ALL.map(place))
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        if let Some(mut relay) = self.relay.take() {
            // It may be gone already, which is what is wanted.
            let _ = relay.kill();
            let _ = relay.wait();
        }
        for who in Who::ALL {
            let name = self.namespace(who);
            if Path::new("/var/run/netns").join(&name).exists()
                && let Err(error) = ip(&["netns", "del", &name])
            {
                eprintln!("namespace {name} stays behind: {error:#}");
            }
        }
    }
}

fn compile(dir: &Path, program: &Path) -> anyhow::Result<()> {
    let source = dir.join("wanrelay.c");
    fs::write(&source, RELAY)?;
    let done = Command::new("cc")
        .arg("-O2")
        .arg("-o")
        .arg(program)
        .arg(&source)
        .status();
    ensure!(
        done.context("cc cannot be run")?.success(),
        "the relay does not compile"
    );
    Ok(())
}

/// Whether the effective user is root.
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    let done = Command::new("ip").args(arguments).output();
    let done = done.context("`ip` of iproute2 cannot be run")?;
    if !done.status.success() {
        let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        bail!("ip {}: {why}", arguments.join(" "));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Removes namespaces of runs whose process is gone.
fn remove_abandoned() -> anyhow::Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let rest = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('-'));
        let process = rest
            .and_then(|rest| rest.split_once('-'))
            .map(|(process, _)| process);
        if let Some(process) = process.and_then(|p| p.parse::<u32>().ok())
            && !Path::new("/proc").join(process.to_string()).exists()
        {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn networks_are_read_and_refused() {
        let spec: WanSpec = "40ms,100mbit".parse().unwrap();
        assert_eq!(spec.link(), LinkProfile::WIDE_AREA);
        assert_eq!(spec.to_string(), "40ms,100mbit");
        let spec: WanSpec = "0.5s, 1gbit".parse().unwrap();
        assert_eq!(
            (spec.round_trip.as_millis(), spec.bits),
            (500, 1_000_000_000)
        );
        for wrong in [
            "",
            "40ms",
            "40,100",
            "40ms,100",
            "-1ms,1mbit",
            "nanms,1mbit",
            "11s,1mbit",
            "1ms,0mbit",
        ] {
            assert!(wrong.parse::<WanSpec>().is_err(), "{wrong}");
        }
    }
}
