//! Entry points of the fuzz targets in `protocols/fuzz`. Property tests drive them on stable.

use crate::embedded::parse_record;
use crate::http::auth::{Authorizer, Claim, Ed25519Authorizer};
use crate::http::{envelope, range};
use crate::seal::{CHUNK, DataKey, HEADER, TAG, open_object};

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
    let _ = Ed25519Authorizer::default().authorize(&claim, std::time::SystemTime::UNIX_EPOCH);
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
