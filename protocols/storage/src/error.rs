//! What can go wrong with a store.

use std::io;
use std::time::Duration;

use crate::fid::{ContentHash, Fid};

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The address of a store cannot be used.
    #[error("{url:?} is not the address of a store: {reason}")]
    BaseUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// All slots of the store are taken.
    #[error("the store is busy: all its slots are taken, try again later")]
    Busy,
    /// The object has no bytes; CESS does not store such.
    #[error("the object is empty, and empty objects cannot be stored")]
    Empty,
    /// The other side computed another fid: something was changed on the way.
    #[error(
        "the store answered with fid {answered}, but what was sent has {computed}: \
         it was changed on the way and must not be used"
    )]
    FidChanged {
        /// What the store says.
        answered: Fid,
        /// What this side computed, by the rule that was asked for.
        computed: Fid,
    },
    /// What came back is not what the fid names, by either rule.
    #[error(
        "the store gave bytes that do not hash to {fid} by either rule: \
         they are not that object, read it from elsewhere"
    )]
    FidMismatch {
        /// What was asked for.
        fid: Fid,
    },
    /// The store has no room.
    #[error("the store is full: it may hold {capacity} bytes on disk")]
    Full {
        /// What it may hold.
        capacity: u64,
    },
    /// The index of an embedded store failed.
    #[error("the index of the store failed while it {doing}")]
    Index {
        /// What was being done.
        doing: &'static str,
        /// What the database reports.
        #[source]
        source: Box<redb::Error>,
    },
    /// A record in the index of an embedded store cannot be read.
    #[error("the index of the store holds a damaged record for {fid}: restore it from a copy")]
    DamagedRecord {
        /// Of which object.
        fid: Fid,
    },
    /// The disk of an embedded store failed.
    #[error("the store's disk failed while it {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the operating system reports.
        #[source]
        source: io::Error,
    },
    /// The other side sent something that is not an answer.
    #[error("the store's answer makes no sense: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// A storage node failed.
    #[error("storage node {node} failed")]
    Node {
        /// Which.
        node: crate::node::NodeId,
        /// How.
        #[source]
        source: crate::node::NodeError,
    },
    /// A storage node is not what it was registered as.
    #[error("storage node {node} is not used: {what}; mend its configuration or its registration")]
    NodeDiffers {
        /// Which.
        node: crate::node::NodeId,
        /// What differs.
        what: String,
    },
    /// A storage node is configured twice.
    #[error("storage node {node} is there twice: twelve fragments would not be on twelve nodes")]
    NodeTwice {
        /// Which.
        node: crate::node::NodeId,
    },
    /// A storage node is not configured.
    #[error("storage node {node} is not known to this store")]
    NodeUnknown {
        /// Which.
        node: crate::node::NodeId,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoEntropy,
    /// The object was sent, and the chain does not say that it is stored.
    #[error(
        "{fid} is not stored: {reported} of 12 storage nodes have reported it, and the chain does \
         not say that it is active; store it again"
    )]
    NotActive {
        /// Which.
        fid: Fid,
        /// How many nodes have it.
        reported: u32,
    },
    /// This node proves nothing because it knows no tagger.
    #[error("no tagger is configured: nothing can be tagged or proven")]
    NoTagger,
    /// The chain failed, or does not do what was asked.
    #[error("the chain did not {doing}")]
    Chain {
        /// What it was asked for.
        doing: &'static str,
        /// What its client reports.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An object of this fid is stored with another size: they differ in zeros at their end.
    #[error(
        "{fid} is stored with {stored} bytes and was given with {given}: they differ in zeros at \
         the end, which the fid does not cover"
    )]
    OtherSize {
        /// Which.
        fid: Fid,
        /// What is stored.
        stored: u64,
        /// What was given.
        given: u64,
    },
    /// The object is stored already, under another location policy.
    #[error("{fid} is stored already under another location policy: it stays where it is")]
    OtherPolicy {
        /// Which.
        fid: Fid,
    },
    /// There are too few nodes that may have it.
    #[error("{needed} storage nodes are needed and {found} of {total} can be used: {reasons}")]
    Placement {
        /// How many are needed.
        needed: usize,
        /// How many can be used.
        found: usize,
        /// How many there are.
        total: usize,
        /// Why others cannot, the first few reasons.
        reasons: String,
    },
    /// The location policy does not permit the only place there is, or the store has no places to
    /// choose from.
    #[error("the location policy cannot be followed by this store: {reason}")]
    PolicyNotOffered {
        /// Why.
        reason: String,
    },
    /// Tags are not what they should be.
    #[error("the tags of a fragment are not usable")]
    Tags(#[source] crate::podr2::TagError),
    /// The account may not do this.
    #[error("not permitted: {reason}")]
    NoPermission {
        /// Why.
        reason: String,
    },
    /// The store acts for no account, and this needs one.
    #[error("this needs an account: give the store client a signer")]
    NoSigner,
    /// No such object.
    #[error("there is no object {fid}")]
    NotFound {
        /// What was asked for.
        fid: Fid,
    },
    /// The range begins behind the object's end.
    #[error("the range begins at byte {start}, but {fid} has {size} bytes")]
    RangeNotSatisfiable {
        /// Which object.
        fid: Fid,
        /// Where the range begins.
        start: u64,
        /// How long the object is.
        size: u64,
    },
    /// The other side refused for a reason of its own.
    #[error("the store refused with code {code}: {message}")]
    Refused {
        /// Its code.
        code: u16,
        /// Its words, cut to a sensible length.
        message: String,
    },
    /// The store computes fids in another way.
    #[error("this store does not compute fids by the rule {rule:?}, only by DeOss")]
    RuleNotOffered {
        /// What was asked for.
        rule: crate::fid::FidRule,
    },
    /// A segment that came back is not the one that belongs there.
    #[error(
        "segment {segment} of {fid} came back with hash {found} instead of {expected}: \
         it was damaged on the way or at the store"
    )]
    SegmentMismatch {
        /// Which object.
        fid: Fid,
        /// Which segment, from 0.
        segment: u64,
        /// What it should hash to.
        expected: ContentHash,
        /// What it does hash to.
        found: ContentHash,
    },
    /// A range cannot be verified because the store does not tell the object's segments.
    #[error(
        "the store does not tell the segments of {fid}, so a range of it cannot be verified: \
         read the whole object"
    )]
    SegmentsUnknown {
        /// Which object.
        fid: Fid,
    },
    /// The reader that gave the bytes failed.
    #[error("the source of the bytes failed")]
    Source(
        /// Its error.
        #[source]
        io::Error,
    ),
    /// The other side was too slow.
    #[error("the store did not {what} within {after:?}")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The object is larger than allowed.
    #[error("the object is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// The object has more owners, or the account more objects, than allowed.
    #[error("the object already has {limit} owners, which is the most it may have")]
    TooManyOwners {
        /// What is allowed.
        limit: usize,
    },
    /// The connection failed.
    #[error("the connection to the store failed")]
    Transport(
        /// What the HTTP client reports.
        #[source]
        reqwest::Error,
    ),
    /// Too many fragments of a segment are lost.
    #[error(
        "segment {segment} of {fid} is lost: {have} of its 12 fragments are intact and {need} are \
         needed"
    )]
    Unrecoverable {
        /// Which object.
        fid: Fid,
        /// Which segment, from 0.
        segment: u64,
        /// Intact fragments.
        have: usize,
        /// Fragments needed.
        need: usize,
    },
}

impl StorageError {
    /// For `map_err` on what nodes do.
    pub(crate) fn node(
        node: crate::node::NodeId,
    ) -> impl FnOnce(crate::node::NodeError) -> Self + Clone {
        move |source| Self::Node { node, source }
    }

    /// For `map_err` on what a chain is asked for.
    pub fn chain<E: std::error::Error + Send + Sync + 'static>(
        doing: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Chain {
            doing,
            source: Box::new(source),
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// For `map_err` on index operations.
    pub(crate) fn index<E: Into<redb::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Index {
            doing,
            source: Box::new(source.into()),
        }
    }
}
