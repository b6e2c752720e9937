//! Entry points of the fuzz targets in `protocols/fuzz`. They are ordinary functions, so that the
//! tests of this crate drive them on stable as well. Each panics when a promise is broken.

use serde::{Serialize, de::DeserializeOwned};

use crate::node::{FrameHeader, FrameKind};
use crate::*;

/// Every record type, decoded as if its signature had held.
pub fn records(data: &[u8]) {
    round_trip::<WorkerRecord>(data, Limit::RECORD);
    round_trip::<Heartbeat>(data, Limit::RECORD);
    round_trip::<JobRequest>(data, Limit::RECORD);
    if let Some(ticket) = round_trip::<Ticket>(data, Limit::RECORD) {
        // Only that it returns: most tickets are wrong.
        let _ = ticket.check();
    }
    if let Some(hosting) = round_trip::<Hosting>(data, Limit::RECORD) {
        let _ = hosting.check();
    }
    round_trip::<HostingReply>(data, Limit::RECORD);
    round_trip::<WorkerReceipt>(data, Limit::RECORD);
    round_trip::<Permit>(data, Limit::RECORD);
    if let Some(input) = round_trip::<Signed<SharedInput>>(data, Limit::RECORD) {
        let _ = input.verify_at_any_time();
    }
    round_trip::<JobFailure>(data, Limit::RECORD);
    if let Some(voucher) = round_trip::<Voucher>(data, Limit::RECORD) {
        let _ = voucher.verify();
    }
    round_trip::<JobReceipt>(data, Limit::RECORD);
    if let Some(receipt) = round_trip::<Signed<JobReceipt>>(data, Limit::RECORD) {
        let _ = JobReceipt::check(&receipt);
    }
}

/// Questions and answers of the control protocol.
pub fn control(data: &[u8]) {
    if let Some(request) = round_trip::<ControlRequest>(data, Limit::CONTROL) {
        let now = UnixMillis(0);
        match request {
            ControlRequest::Register(record) => drop(record.verify(now)),
            ControlRequest::Heartbeat(record) => drop(record.verify(now)),
            ControlRequest::Match(record) | ControlRequest::Quote(record) => {
                drop(record.verify(now));
            }
            ControlRequest::Complete {
                receipt, voucher, ..
            } => {
                drop(JobReceipt::check(&receipt));
                let _ = voucher.verify();
            }
            ControlRequest::Fail(record) => drop(record.verify(now)),
            ControlRequest::Accepted(claim) => drop(claim.check()),
            ControlRequest::Job(_)
            | ControlRequest::Proof(_)
            | ControlRequest::Unsettled
            | ControlRequest::Info
            | ControlRequest::Hosts(_)
            | ControlRequest::Holders(_)
            | ControlRequest::Explain(_) => {}
        }
    }
    if let Some(ControlResponse::Proof(Some(proof))) =
        round_trip::<ControlResponse>(data, Limit::CONTROL)
    {
        drop(proof.claim.check());
        let _ = proof.settled.map(|settled| settled.verify(Digest([0; 32])));
    }
}

/// The words at both ends of a session.
pub fn session(data: &[u8]) {
    round_trip::<SessionHello>(data, Limit::RECORD);
    round_trip::<HelloReply>(data, Limit::RECORD);
    round_trip::<CopyHello>(data, Limit::RECORD);
    round_trip::<CopyReply>(data, Limit::RECORD);
    round_trip::<Abort>(data, Limit::RECORD);
    round_trip::<PoolHello>(data, Limit::RECORD);
    round_trip::<PoolReply>(data, Limit::RECORD);
    round_trip::<FheJob>(data, Limit::RECORD);
    round_trip::<FheReply>(data, Limit::RECORD);
    round_trip::<Progress>(data, Limit::RECORD);
    if let Ok(piece) = KeyPiece::parse(data) {
        assert_eq!(piece.to_bytes(), data);
    }
}

/// The header of a bulk frame.
pub fn frame(data: &[u8]) {
    let Some(bytes) = data.first_chunk() else {
        return;
    };
    if let Ok(header) = FrameHeader::from_bytes(*bytes) {
        assert_eq!(header.to_bytes(), *bytes, "a header has one encoding");
        assert_eq!(FrameKind::try_from(bytes[4]), Ok(header.kind));
    }
}

/// Text that people type: names, accounts, ids and amounts.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(name) = text.parse::<ModelName>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(region) = text.parse::<Region>() {
        assert_eq!(region.as_str(), text);
    }
    if let Ok(account) = text.parse::<AccountId>() {
        assert_eq!(account.to_string().parse(), Ok(account));
    }
    if let Ok(amount) = text.parse::<Planck>() {
        assert_eq!(amount.to_string().parse(), Ok(amount));
    }
    if let Ok(fid) = text.parse::<Fid>() {
        assert_eq!(fid.to_string().parse(), Ok(fid));
    }
}

/// What decodes encodes again, to something that decodes to the same.
fn round_trip<T>(data: &[u8], limit: Limit) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let value: T = decode(data, limit).ok()?;
    // Decoders accept longer forms of small numbers, so the encoding may be shorter, never longer.
    let bytes = encode(&value, limit).expect("what was decoded within the limit encodes within it");
    assert!(bytes.len() <= data.len());
    let again: T = decode(&bytes, limit).expect("what was encoded decodes");
    assert_eq!(value, again);
    Some(value)
}
