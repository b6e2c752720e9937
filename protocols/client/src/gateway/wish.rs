//! The level and the group that a request asks for.
//!
//! `level` (`fhe`, `mpc` or `sealed`), as header `AI-Link-Level` or among the request's `parameters`; at level `mpc` also `dealer` (`worker` or `client`) and `evaluators` (2 to 8), as headers `AI-Link-Dealer` and `AI-Link-Evaluators` or
//! among the request's `parameters`. What cannot be read is an error, and so is saying two things: a wish that is
//! passed over would be served with less protection than was asked for.

use std::str::FromStr;

use ai_link_wire::{DealerSeat, Level};
use axum::http::HeaderMap;

use super::GatewayError;
use super::oip::InferRequest;
use crate::group::Group;

const LEVEL: &str = "ai-link-level";
const DEALER: &str = "ai-link-dealer";
const EVALUATORS: &str = "ai-link-evaluators";

/// The level that headers and request ask for.
pub(super) fn level(
    headers: &HeaderMap,
    request: &InferRequest,
) -> Result<Option<Level>, GatewayError> {
    one(header(headers, LEVEL)?, request.level, LEVEL)
}

/// The level that headers alone ask for.
pub(super) fn level_of_headers(headers: &HeaderMap) -> Result<Option<Level>, GatewayError> {
    header(headers, LEVEL)
}

/// The group that headers alone ask for, and `configured` in what they leave open.
pub(super) fn group_of_headers(
    headers: &HeaderMap,
    level: Option<Level>,
    configured: Group,
) -> Result<Group, GatewayError> {
    grouped(
        header(headers, DEALER)?,
        header(headers, EVALUATORS)?,
        level,
        configured,
    )
}

/// What headers and request ask for, and `configured` in what they leave open. Who asks for a level with one worker and for a group in
/// one has misunderstood something.
pub(super) fn group(
    headers: &HeaderMap,
    request: &InferRequest,
    level: Option<Level>,
    configured: Group,
) -> Result<Group, GatewayError> {
    let dealer: Option<DealerSeat> = one(header(headers, DEALER)?, request.dealer, DEALER)?;
    let evaluators = one(header(headers, EVALUATORS)?, request.evaluators, EVALUATORS)?;
    grouped(dealer, evaluators, level, configured)
}

fn grouped(
    dealer: Option<DealerSeat>,
    evaluators: Option<u8>,
    level: Option<Level>,
    configured: Group,
) -> Result<Group, GatewayError> {
    if matches!(level, Some(Level::Fhe | Level::Sealed)) {
        let asked = dealer.map(|_| DEALER).or(evaluators.map(|_| EVALUATORS));
        if let Some(name) = asked {
            return Err(GatewayError::NoGroup { name });
        }
    }
    Ok(Group {
        dealer: dealer.unwrap_or(configured.dealer),
        evaluators: evaluators.unwrap_or(configured.evaluators),
    })
}

fn header<T: FromStr>(headers: &HeaderMap, name: &'static str) -> Result<Option<T>, GatewayError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str().ok().and_then(|v| v.trim().parse().ok()) {
            Some(value) => Ok(Some(value)),
            None => Err(GatewayError::Header { name }),
        },
        (Some(_), Some(_)) => Err(GatewayError::Header { name }),
    }
}

fn one<T: PartialEq>(
    header: Option<T>,
    parameter: Option<T>,
    name: &'static str,
) -> Result<Option<T>, GatewayError> {
    match (header, parameter) {
        (Some(header), Some(parameter)) if header != parameter => {
            Err(GatewayError::Contradiction { name })
        }
        (header, parameter) => Ok(header.or(parameter)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wish(headers: &[(&'static str, &str)], parameters: &str) -> Result<Group, GatewayError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let body = format!(r#"{{"inputs": [], "parameters": {parameters}}}"#);
        let request = InferRequest::parse(body.as_bytes(), None).map_err(GatewayError::Request)?;
        let level = level(&map, &request)?;
        group(&map, &request, level, Group::default())
    }

    #[test]
    fn headers_and_parameters_say_the_same() {
        let wanted = Group {
            dealer: DealerSeat::Client,
            evaluators: 3,
        };
        let headers = [(DEALER, "client"), (EVALUATORS, "3")];
        assert_eq!(wish(&headers, "{}").unwrap(), wanted);
        let parameters = r#"{"dealer": "client", "evaluators": 3}"#;
        assert_eq!(wish(&[], parameters).unwrap(), wanted);
        assert_eq!(wish(&headers, parameters).unwrap(), wanted);
        assert_eq!(wish(&[], "{}").unwrap(), Group::default());
        let client = wish(&headers[..1], "{}").unwrap();
        assert_eq!((client.dealer, client.evaluators), (DealerSeat::Client, 2));
    }

    #[test]
    fn a_level_is_named_in_either_way_and_has_a_group_or_none() {
        let level_of = |headers: &[(&'static str, &str)], parameters: &str| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let body = format!(r#"{{"inputs": [], "parameters": {parameters}}}"#);
            let request = InferRequest::parse(body.as_bytes(), None).unwrap();
            level(&map, &request)
        };
        assert_eq!(level_of(&[], "{}").unwrap(), None);
        let header = [(LEVEL, "fhe")];
        let parameter = r#"{"level": "fhe"}"#;
        assert_eq!(level_of(&header, "{}").unwrap(), Some(Level::Fhe));
        assert_eq!(level_of(&[], parameter).unwrap(), Some(Level::Fhe));
        assert_eq!(level_of(&header, parameter).unwrap(), Some(Level::Fhe));
        assert!(matches!(
            level_of(&[(LEVEL, "mpc")], parameter),
            Err(GatewayError::Contradiction { .. })
        ));
        assert!(matches!(
            level_of(&[(LEVEL, "none")], "{}"),
            Err(GatewayError::Header { .. })
        ));
        for group in [
            r#"{"level": "fhe", "evaluators": 3}"#,
            r#"{"level": "fhe", "dealer": "client"}"#,
        ] {
            assert!(matches!(
                wish(&[], group),
                Err(GatewayError::NoGroup { .. })
            ));
        }
        assert!(wish(&[], r#"{"level": "mpc", "evaluators": 3}"#).is_ok());
    }

    #[test]
    fn a_wish_that_is_not_understood_is_an_error() {
        for headers in [
            &[(DEALER, "nobody")][..],
            &[(EVALUATORS, "three")],
            &[(EVALUATORS, "-1")],
            &[(EVALUATORS, "256")],
            &[(DEALER, "client"), (DEALER, "client")],
        ] {
            assert!(matches!(
                wish(headers, "{}"),
                Err(GatewayError::Header { .. })
            ));
        }
        for parameters in [
            r#"{"level": "none"}"#,
            r#"{"level": 2}"#,
            r#"{"dealer": "nobody"}"#,
            r#"{"dealer": 1}"#,
            r#"{"evaluators": "3"}"#,
            r#"{"evaluators": 1000}"#,
        ] {
            assert!(matches!(
                wish(&[], parameters),
                Err(GatewayError::Request(_))
            ));
        }
        assert!(matches!(
            wish(&[(DEALER, "worker")], r#"{"dealer": "client"}"#),
            Err(GatewayError::Contradiction { .. })
        ));
    }
}
