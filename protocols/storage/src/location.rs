//! Where data may lie: location-based storage selection (LBSS).
//!
//! Every storage node and worker has a [`Site`]: a claim where it is, with the [`Evidence`] there is
//! for it. A [`LocationPolicy`] is part of an object. It is checked where fragments are placed, where
//! they are repaired, and where a worker would pull the object; what it does not clearly permit is
//! refused. A policy that makes no sense is no policy but an error: a wrong one must never turn into
//! none.

mod countries;
mod polygon;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::polygon::{Polygon, PolygonError, Position, PositionError};

/// The most entries of a list in a policy.
const MAX_ENTRIES: usize = 256;
/// The longest text of a policy.
const MAX_TEXT: usize = 64 << 10;

/// A country, by its two letters in ISO 3166-1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

/// A part of the world by the name that operators give it, for example `eu-central`: 1 to 32 of
/// `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

/// Why a text is not a country or a region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No such code.
    #[error("{0:?} is not one of the two-letter country codes of ISO 3166-1")]
    Country(String),
    /// Not a name.
    #[error("{0:?} is not the name of a region: 1 to 32 of a-z, 0-9 and -")]
    Region(String),
}

/// How well a location is known. Later ones are better.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The operator says so.
    #[default]
    SelfDeclared,
    /// The network address is registered there; it can be spoofed.
    ByIp,
    /// Somebody the network trusts attests it.
    Attested,
}

/// Where a node claims to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its country.
    pub country: Country,
    /// Its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Its position; without one no polygon permits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What there is for the claim.
    #[serde(default)]
    pub evidence: Evidence,
}

/// Where an object may lie.
///
/// A site is permitted if its evidence is good enough, it is in none of the denied places, and, where
/// any places are allowed at all, it is in one of those.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PolicySpec", into = "PolicySpec")]
pub struct LocationPolicy(PolicySpec);

/// What a policy says, as it is written in TOML or JSON. `EU` may stand among countries for all
/// members of the European Union.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct PolicySpec {
    /// Countries that are allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_countries: Vec<String>,
    /// Countries that are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_countries: Vec<String>,
    /// Regions that are allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_regions: Vec<Region>,
    /// Regions that are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_regions: Vec<Region>,
    /// Areas that are allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_areas: Vec<Polygon>,
    /// Areas that are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_areas: Vec<Polygon>,
    /// The least evidence that counts.
    pub least_evidence: Evidence,
}

/// Why something is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A place that does not exist.
    #[error("the location policy names a place that does not exist")]
    Place(#[from] PlaceError),
    /// A place is allowed and denied.
    #[error("the location policy both allows and denies {0}: nothing can follow it")]
    Contradiction(String),
    /// It says nothing.
    #[error("the location policy has no rule: leave it out if anything is allowed")]
    Nothing,
    /// It has too many entries.
    #[error("the location policy has a list of {count} entries, {MAX_ENTRIES} are allowed")]
    TooLong {
        /// How many.
        count: usize,
    },
    /// It is not the text of a policy.
    #[error("not a location policy: {0}")]
    Malformed(String),
}

/// Why a site is not permitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Its location is not known well enough.
    #[error("its location is {found}, and the policy wants {least} at least")]
    Evidence {
        /// What there is.
        found: Evidence,
        /// What is wanted.
        least: Evidence,
    },
    /// It is in a country that is denied.
    #[error("it is in {0}, which the policy denies")]
    DeniedCountry(Country),
    /// It is in a region that is denied.
    #[error("it is in region {}, which the policy denies", .0.0)]
    DeniedRegion(Region),
    /// It names no region, and the policy denies some.
    #[error("it names no region, and the policy denies some")]
    UnknownRegion,
    /// It is in an area that is denied, or may be, since it names no position.
    #[error("it is in an area that the policy denies, or names no position")]
    DeniedArea,
    /// It is in none of the places that are allowed.
    #[error("it is in {0}, and in none of the countries, regions and areas that the policy allows")]
    NotAllowed(Country),
}

impl Site {
    /// Reads a site from JSON.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Malformed`], [`PolicyError::Place`] is among its words.
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_TEXT {
            let bytes = text.len();
            return Err(PolicyError::Malformed(format!("it has {bytes} bytes")));
        }
        serde_json::from_str(text).map_err(|error| PolicyError::Malformed(format!("site: {error}")))
    }

    /// The site as JSON on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and finite numbers are JSON, qed")
    }
}

impl LocationPolicy {
    /// Members of the European Union only.
    pub fn european_union() -> Self {
        Self(PolicySpec {
            allow_countries: vec![countries::EU.to_owned()],
            ..PolicySpec::default()
        })
    }

    /// Reads a policy from JSON.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`].
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_TEXT {
            return Err(PolicyError::Malformed(format!(
                "it has {} bytes",
                text.len()
            )));
        }
        let spec: PolicySpec = serde_json::from_str(text)
            .map_err(|error| PolicyError::Malformed(error.to_string()))?;
        spec.try_into()
    }

    /// The policy as JSON on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("lists, texts and finite numbers are JSON, qed")
    }

    /// What it says.
    pub fn spec(&self) -> &PolicySpec {
        &self.0
    }

    /// Whether something may lie at `site`, or be pulled from there.
    ///
    /// # Errors
    ///
    /// [`Refused`]: why not.
    pub fn permits(&self, site: &Site) -> Result<(), Refused> {
        let spec = &self.0;
        if site.evidence < spec.least_evidence {
            return Err(Refused::Evidence {
                found: site.evidence,
                least: spec.least_evidence,
            });
        }
        let names = |list: &[String]| {
            list.iter()
                .any(|name| countries::covers(name, site.country))
        };
        if names(&spec.deny_countries) {
            return Err(Refused::DeniedCountry(site.country));
        }
        // What names no region, or no position, might be in one that is denied.
        match &site.region {
            Some(region) if spec.deny_regions.contains(region) => {
                return Err(Refused::DeniedRegion(region.clone()));
            }
            None if !spec.deny_regions.is_empty() => return Err(Refused::UnknownRegion),
            _ => {}
        }
        let inside = |areas: &[Polygon], unknown: bool| match site.position {
            Some(position) => areas.iter().any(|area| area.contains(position)),
            None => unknown && !areas.is_empty(),
        };
        if inside(&spec.deny_areas, true) {
            return Err(Refused::DeniedArea);
        }
        let open = spec.allow_countries.is_empty()
            && spec.allow_regions.is_empty()
            && spec.allow_areas.is_empty();
        let allowed = open
            || names(&spec.allow_countries)
            || site
                .region
                .as_ref()
                .is_some_and(|region| spec.allow_regions.contains(region))
            || inside(&spec.allow_areas, false);
        if allowed {
            Ok(())
        } else {
            Err(Refused::NotAllowed(site.country))
        }
    }
}

impl TryFrom<PolicySpec> for LocationPolicy {
    type Error = PolicyError;

    fn try_from(spec: PolicySpec) -> Result<Self, PolicyError> {
        let lengths = [
            spec.allow_countries.len(),
            spec.deny_countries.len(),
            spec.allow_regions.len(),
            spec.deny_regions.len(),
            spec.allow_areas.len(),
            spec.deny_areas.len(),
        ];
        if let Some(count) = lengths.into_iter().find(|count| *count > MAX_ENTRIES) {
            return Err(PolicyError::TooLong { count });
        }
        if lengths == [0; 6] && spec.least_evidence == Evidence::default() {
            return Err(PolicyError::Nothing);
        }
        for name in spec.allow_countries.iter().chain(&spec.deny_countries) {
            if name != countries::EU {
                name.parse::<Country>()?;
            }
        }
        // Denying a member of an allowed union is an exception; denying the whole of what is allowed
        // is a mistake.
        let denied: BTreeSet<&String> = spec.deny_countries.iter().collect();
        for name in &spec.allow_countries {
            let member = name.parse::<Country>().ok();
            let covered = |by: &&&String| member.is_some_and(|c| countries::covers(by, c));
            if denied.contains(name) || denied.iter().any(|by| covered(&by)) {
                return Err(PolicyError::Contradiction(name.clone()));
            }
        }
        if let Some(region) = spec
            .allow_regions
            .iter()
            .find(|r| spec.deny_regions.contains(r))
        {
            return Err(PolicyError::Contradiction(region.0.clone()));
        }
        Ok(Self(spec))
    }
}

impl From<LocationPolicy> for PolicySpec {
    fn from(policy: LocationPolicy) -> Self {
        policy.0
    }
}

impl FromStr for Country {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match *text.as_bytes() {
            [a, b] if countries::exists([a, b]) => Ok(Self([a, b])),
            _ => Err(PlaceError::Country(text.chars().take(16).collect())),
        }
    }
}

impl TryFrom<String> for Country {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.to_string()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Country({self})")
    }
}

impl FromStr for Region {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(fine) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PlaceError::Region(text.chars().take(40).collect()))
        }
    }
}

impl TryFrom<String> for Region {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SelfDeclared => "self-declared",
            Self::ByIp => "known by its address",
            Self::Attested => "attested",
        })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.country)?;
        if let Some(region) = &self.region {
            write!(f, ", {region}")?;
        }
        write!(f, " ({})", self.evidence)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn site(country: &str, region: Option<&str>, evidence: Evidence) -> Site {
        Site {
            country: country.parse().unwrap(),
            region: region.map(|region| region.parse().unwrap()),
            position: None,
            evidence,
        }
    }

    fn policy(json: &str) -> Result<LocationPolicy, PolicyError> {
        LocationPolicy::from_json(json)
    }

    #[test]
    fn a_union_has_its_members_and_exceptions() {
        let policy =
            policy(r#"{"allow-countries": ["EU", "CH"], "deny-countries": ["HU"]}"#).unwrap();
        for (country, permitted) in [("DE", true), ("CH", true), ("HU", false), ("US", false)] {
            let found = policy.permits(&site(country, None, Evidence::SelfDeclared));
            assert_eq!(found.is_ok(), permitted, "{country}: {found:?}");
        }
        let refused = policy
            .permits(&site("US", None, Evidence::Attested))
            .unwrap_err();
        assert_eq!(refused, Refused::NotAllowed("US".parse().unwrap()));
        assert!(refused.to_string().contains("in US"));
    }

    #[test]
    fn evidence_must_suffice() {
        let policy = policy(r#"{"least-evidence": "by-ip"}"#).unwrap();
        assert!(
            policy
                .permits(&site("FR", None, Evidence::Attested))
                .is_ok()
        );
        assert!(policy.permits(&site("FR", None, Evidence::ByIp)).is_ok());
        assert!(matches!(
            policy.permits(&site("FR", None, Evidence::SelfDeclared)),
            Err(Refused::Evidence { .. })
        ));
    }

    #[test]
    fn areas_need_a_position() {
        let area = r#"[{"longitude": 5.0, "latitude": 47.0}, {"longitude": 15.0, "latitude": 47.0},
            {"longitude": 10.0, "latitude": 55.0}]"#;
        let allow = policy(&format!(r#"{{"allow-areas": [{area}]}}"#)).unwrap();
        let deny = policy(&format!(r#"{{"deny-areas": [{area}]}}"#)).unwrap();
        let at = |longitude, latitude| Site {
            position: Some(Position::new(longitude, latitude).unwrap()),
            ..site("DE", None, Evidence::SelfDeclared)
        };
        assert!(allow.permits(&at(10.0, 50.0)).is_ok() && deny.permits(&at(10.0, 50.0)).is_err());
        assert!(allow.permits(&at(30.0, 50.0)).is_err() && deny.permits(&at(30.0, 50.0)).is_ok());
        let unknown = site("DE", None, Evidence::SelfDeclared);
        assert!(allow.permits(&unknown).is_err() && deny.permits(&unknown).is_err());
    }

    #[test]
    fn bad_policies_are_errors() {
        for json in [
            "{}",
            "",
            r#"{"allow-countries": ["XX"]}"#,
            r#"{"allow-countries": ["de"]}"#,
            r#"{"allow-country": ["DE"]}"#,
            r#"{"allow-countries": ["DE"], "deny-countries": ["DE"]}"#,
            r#"{"allow-countries": ["DE"], "deny-countries": ["EU"]}"#,
            r#"{"allow-regions": ["eu"], "deny-regions": ["eu"]}"#,
            r#"{"allow-regions": ["EU West"]}"#,
            r#"{"least-evidence": "none"}"#,
            r#"{"allow-areas": [[{"longitude": 5.0, "latitude": 47.0}]]}"#,
            r#"{"allow-areas": [[{"longitude": 500.0, "latitude": 47.0}]]}"#,
        ] {
            assert!(policy(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn denied_wins_and_text_round_trips(
            allow in proptest::collection::vec(prop::sample::select(vec!["DE", "FR", "US", "EU"]), 0..3),
            deny in proptest::collection::vec(prop::sample::select(vec!["CN", "HU", "IT"]), 1..3),
            country in prop::sample::select(vec!["DE", "FR", "US", "CN", "HU", "IT"]),
        ) {
            let spec = PolicySpec {
                allow_countries: allow.iter().map(ToString::to_string).collect(),
                deny_countries: deny.iter().map(ToString::to_string).collect(),
                ..PolicySpec::default()
            };
            let policy = LocationPolicy::try_from(spec).unwrap();
            prop_assert_eq!(&LocationPolicy::from_json(&policy.to_json()).unwrap(), &policy);
            let permitted = policy.permits(&site(country, None, Evidence::SelfDeclared)).is_ok();
            let eu = allow.contains(&"EU") && !["US", "CN"].contains(&country);
            let expected = !deny.contains(&country)
                && (allow.is_empty() || allow.contains(&country) || eu);
            prop_assert_eq!(permitted, expected);
        }
    }
}
