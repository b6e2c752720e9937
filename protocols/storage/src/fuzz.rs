//! Entry points of the fuzz targets in `protocols/fuzz`. Property tests drive them on stable.

use crate::bank::parse_file_record;
use crate::embedded::parse_record;
use crate::grants::{Grant, Revocation};
use crate::http::auth::{Authorizer, Claim, SignatureAuthorizer};
use crate::http::{envelope, range};
use crate::location::LocationPolicy;
use crate::mutable::Manifest;
use crate::podr2::{Challenge, Proof, TagSet};
use crate::seal::{CHUNK, DataKey, HEADER, TAG, open_object};
use crate::shares::SharedTensor;

/// Opens any bytes as a sealed object, first as they are, then behind a header that the key fits.
pub fn seal_open(bytes: &[u8]) {
    let key = DataKey::from_bytes([7; 32]);
    assert!(
        open_object(&key, bytes).is_err(),
        "nobody can forge an object"
    );
    let header = crate::seal::fitting_header(&key);
    let framed = [&header[..], bytes].concat();
    assert!(
        open_object(&key, &framed).is_err(),
        "nobody can forge a chunk"
    );
    if framed.len() > HEADER + CHUNK + TAG {
        assert!(open_object(&key, &framed[..HEADER + CHUNK + TAG]).is_err());
    }
}

/// Parses range headers of requests and of answers.
pub fn range_header(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for size in [0, 1, 1 << 25, u64::MAX] {
        let Ok(header) = range::RangeHeader::parse(text) else {
            continue;
        };
        if let Some(range) = header.within(size) {
            assert!(range.start < range.end && range.end <= size);
            let answer = range::content_range(&range, size);
            assert_eq!(range::parse_content_range(&answer), Some((range, size)));
        }
    }
    if let Some((range, size)) = range::parse_content_range(text) {
        assert!(range.start < range.end && range.end <= size);
    }
}

/// Parses answers of gateways, and records of the index.
pub fn answers(bytes: &[u8]) {
    let _ = envelope::open::<envelope::Metadata>(bytes);
    let _ = envelope::open::<Vec<envelope::ListEntry>>(bytes);
    let _ = envelope::open::<std::collections::BTreeMap<String, envelope::Batch>>(bytes);
    parse_record(bytes);
    let _ = crate::retriever::parse_answer(bytes, &[10100]);
}

/// Parses what nodes, stores and owners exchange and keep: file records, challenges, proofs, tags,
/// grants, manifests, policies.
pub fn node_messages(bytes: &[u8]) {
    parse_file_record(bytes);
    if let Ok(challenge) = Challenge::from_bytes(bytes) {
        assert_eq!(challenge.to_bytes(), bytes);
    }
    if let Ok(proof) = Proof::from_bytes(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
    }
    if let Ok(manifest) = Manifest::from_bytes(bytes) {
        assert_eq!(manifest.to_bytes(), bytes);
    }
    if let Ok(grant) = Grant::from_bytes(bytes) {
        assert_eq!(grant.to_bytes(), bytes);
    }
    if let Ok(revocation) = Revocation::from_bytes(bytes) {
        assert_eq!(revocation.to_bytes(), bytes);
    }
    if let Ok(tensor) = SharedTensor::from_bytes(bytes) {
        assert_eq!(tensor.to_bytes(), bytes);
    }
    if let Ok(tags) = TagSet::from_bytes(bytes) {
        assert_eq!(tags.to_bytes(), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(policy) = LocationPolicy::from_json(text) {
            assert_eq!(LocationPolicy::from_json(&policy.to_json()), Ok(policy));
        }
        for total in [1, 1 << 23] {
            if let Some(range) = range::parse_exclusive(text, total) {
                assert!(range.start < range.end && range.end <= total);
            }
        }
    }
}

/// Checks the headers of a request, given as three lines.
pub fn auth_headers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines = text.splitn(3, '\n');
    let claim = Claim {
        method: "PUT",
        path: "/object/name",
        account: lines.next(),
        message: lines.next(),
        signature: lines.next(),
    };
    let _ = SignatureAuthorizer::default().authorize(&claim, std::time::SystemTime::UNIX_EPOCH);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            super::seal_open(&bytes);
            super::range_header(&bytes);
            super::answers(&bytes);
            super::auth_headers(&bytes);
            super::node_messages(&bytes);
        }

        /// Behind the right beginning and at the right length, more of each parser is reached.
        #[test]
        fn framed(
            magic in prop::sample::select(vec!["AILGRNT", "AILREVK", "AILMANI", "AILPROO", "AILTAGS", "AILSHRD"]),
            length in prop::sample::select(vec![128, 305, 313, 221, 350]),
            bytes in proptest::collection::vec(any::<u8>(), 400),
        ) {
            let mut framed = [magic.as_bytes(), &[1], &bytes].concat();
            framed.truncate(length);
            super::node_messages(&framed);
        }

        #[test]
        fn policies(text in r#"\{"(allow-countries|deny-countries|allow-regions)": ?\["(EU|DE|XX|eu-1)"\](, "least-evidence": "by-ip")?\}|bytes=[0-9]{1,8}-[0-9]{1,8}/8388608"#) {
            super::node_messages(text.as_bytes());
        }

        #[test]
        fn texts(
            range in "bytes[= ][0-9]{0,21}-[0-9]{0,21}(/[0-9]{1,21})?",
            json in r#"\{"code":[0-9]{1,4},"msg":"[a-z ]{0,9}","data":(null|\[\]|\{"fid":"[0-9a-f]{62,66}","size":-?[0-9]{1,20}\})\}"#,
            auth in "5[1-9A-HJ-NP-Za-km-z]{46,48}\n[0-9]{1,21}( PUT /[a-z/]{0,12})?\n(0x)?[0-9a-f]{126,130}",
        ) {
            super::range_header(range.as_bytes());
            super::answers(json.as_bytes());
            super::auth_headers(auth.as_bytes());
        }
    }
}
