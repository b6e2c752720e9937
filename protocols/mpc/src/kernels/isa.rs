//! Which instructions this machine has, and running code compiled for them.

#![allow(unsafe_code)]

use std::fmt;

/// An instruction set that this machine was found to have.
///
/// Values exist only for what the processor reported, which is what makes
/// running code compiled for it sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(pub(super) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// With VNNI and VBMI, as every server processor that has IFMA.
    #[cfg(target_arch = "x86_64")]
    Avx512Ifma,
}

impl Isa {
    /// What every machine runs.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Everything this machine runs, slowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut found = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("bmi1") && has!("bmi2") && has!("popcnt");
            if avx2 {
                found.push(Self(Kind::Avx2));
            }
            let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
            if avx2 && wide {
                found.push(Self(Kind::Avx512));
                if has!("avx512ifma") && has!("avx512vnni") && has!("avx512vbmi") {
                    found.push(Self(Kind::Avx512Ifma));
                }
            }
        }
        found
    }

    /// The fastest that this machine runs.
    pub fn best() -> Self {
        use std::sync::OnceLock;
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(Self::PORTABLE))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Ifma => "avx512-ifma",
        })
    }
}

/// Plain code that the compiler vectorises for whichever instruction set it is run with.
///
/// `run` must be `#[inline(always)]`, and so must everything hot that it calls: only then is the
/// body compiled with the instructions of the caller.
pub(crate) trait Vectorised {
    type Output;
    fn run(self) -> Self::Output;
}

/// Runs `code` compiled for `isa`.
pub(crate) fn dispatch<V: Vectorised>(isa: Isa, code: V) -> V::Output {
    match isa.0 {
        Kind::Portable => code.run(),
        // SAFETY: a value of `Isa` with this kind exists only if `available` detected every
        // feature that the function is compiled with.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => unsafe { run_avx2(code) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Avx512Ifma => unsafe { run_avx512(code) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn run_avx2<V: Vectorised>(code: V) -> V::Output {
    code.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]
fn run_avx512<V: Vectorised>(code: V) -> V::Output {
    code.run()
}
