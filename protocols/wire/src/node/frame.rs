//! The header of a bulk frame: payload length (u32, little endian), then the kind (u8).

/// What a bulk frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A [`SessionHello`](crate::SessionHello).
    Hello = 1,
    /// A [`HelloReply`](crate::HelloReply).
    HelloReply = 2,
    /// Shares: bytes that only the engine reads.
    Data = 3,
    /// A signed [`WorkerReceipt`](crate::WorkerReceipt).
    Receipt = 4,
    /// An [`Abort`](crate::Abort).
    Abort = 5,
    /// A signed [`Hosting`](crate::Hosting).
    Hosting = 6,
    /// A [`HostingReply`](crate::HostingReply).
    HostingReply = 7,
    /// A [`PoolHello`](crate::PoolHello).
    PoolHello = 8,
    /// A [`PoolReply`](crate::PoolReply).
    PoolReply = 9,
    /// An [`FheJob`](crate::FheJob).
    FheJob = 10,
    /// An [`FheReply`](crate::FheReply).
    FheReply = 11,
    /// A [`KeyPiece`](crate::KeyPiece).
    KeyPiece = 12,
    /// A [`Progress`](crate::Progress).
    Progress = 13,
    /// Nothing: the client is there and waits.
    Waiting = 14,
    /// A signed [`SealedKey`](crate::SealedKey).
    SealedKey = 15,
    /// What opens an encrypted request.
    SealedOpening = 16,
    /// What an encrypted answer begins with.
    SealedNonce = 17,
    /// A part of an encrypted request or answer.
    SealedChunk = 18,
    /// A [`CopyHello`](crate::CopyHello).
    CopyHello = 19,
    /// A [`CopyReply`](crate::CopyReply).
    CopyReply = 20,
    /// A piece of a copy.
    CopyPiece = 21,
}

impl TryFrom<u8> for FrameKind {
    type Error = FrameError;

    fn try_from(kind: u8) -> Result<Self, FrameError> {
        match kind {
            1 => Ok(Self::Hello),
            2 => Ok(Self::HelloReply),
            3 => Ok(Self::Data),
            4 => Ok(Self::Receipt),
            5 => Ok(Self::Abort),
            6 => Ok(Self::Hosting),
            7 => Ok(Self::HostingReply),
            8 => Ok(Self::PoolHello),
            9 => Ok(Self::PoolReply),
            10 => Ok(Self::FheJob),
            11 => Ok(Self::FheReply),
            12 => Ok(Self::KeyPiece),
            13 => Ok(Self::Progress),
            14 => Ok(Self::Waiting),
            15 => Ok(Self::SealedKey),
            16 => Ok(Self::SealedOpening),
            17 => Ok(Self::SealedNonce),
            18 => Ok(Self::SealedChunk),
            19 => Ok(Self::CopyHello),
            20 => Ok(Self::CopyReply),
            21 => Ok(Self::CopyPiece),
            _ => Err(FrameError::UnknownKind { kind }),
        }
    }
}

/// A parsed header. Its length is what the sender claims, no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What follows.
    pub kind: FrameKind,
    /// How many bytes follow.
    pub length: u32,
}

impl FrameHeader {
    /// Bytes of a header.
    pub const LEN: usize = 5;

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.length.to_le_bytes();
        [a, b, c, d, self.kind as u8]
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`FrameError::UnknownKind`].
    pub fn from_bytes([a, b, c, d, kind]: [u8; Self::LEN]) -> Result<Self, FrameError> {
        Ok(Self {
            kind: kind.try_into()?,
            length: u32::from_le_bytes([a, b, c, d]),
        })
    }
}

/// How many payload bytes a reader will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Exactly so many.
    Exactly(usize),
    /// At most so many.
    AtMost(usize),
}

/// Judges a header before a byte of its payload is read or any memory is claimed for it. Returns the room
/// that it was judged by.
pub(super) fn admit(header: FrameHeader, wanted: &[(FrameKind, Room)]) -> Result<Room, FrameError> {
    let FrameHeader { kind, length } = header;
    let claimed = length as usize;
    let Some((_, room)) = wanted.iter().find(|(wanted, _)| *wanted == kind) else {
        return Err(FrameError::UnexpectedKind {
            found: kind,
            expected: wanted.iter().map(|(wanted, _)| *wanted).collect(),
        });
    };
    match *room {
        Room::Exactly(bytes) if claimed != bytes => Err(FrameError::WrongLength {
            kind,
            claimed,
            expected: bytes,
        }),
        Room::AtMost(max) if claimed > max => Err(FrameError::TooLong { kind, claimed, max }),
        room => Ok(room),
    }
}

/// Why a header is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the reader takes.
    #[error("a {kind:?} frame claims {claimed} bytes, but at most {max} are taken here")]
    TooLong {
        /// Its kind.
        kind: FrameKind,
        /// Its length, as claimed.
        claimed: usize,
        /// The most that is taken.
        max: usize,
    },
    /// Known, but not now.
    #[error("a {found:?} frame came where one of {expected:?} is expected")]
    UnexpectedKind {
        /// Its kind.
        found: FrameKind,
        /// What would have been taken.
        expected: Vec<FrameKind>,
    },
    /// No kind of this protocol.
    #[error("{kind} is no kind of frame")]
    UnknownKind {
        /// The byte.
        kind: u8,
    },
    /// Another length than both sides can compute.
    #[error("a {kind:?} frame claims {claimed} bytes where {expected} are due")]
    WrongLength {
        /// Its kind.
        kind: FrameKind,
        /// Its length, as claimed.
        claimed: usize,
        /// Its length, as computed.
        expected: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_have_the_documented_bytes() {
        let header = FrameHeader {
            kind: FrameKind::Data,
            length: 0x0102_0304,
        };
        assert_eq!(header.to_bytes(), [4, 3, 2, 1, 3]);
        for kind in 1..=21 {
            let bytes = [9, 8, 7, 6, kind];
            assert_eq!(
                FrameHeader::from_bytes(bytes).map(FrameHeader::to_bytes),
                Ok(bytes)
            );
        }
        for kind in [0, 22, 255] {
            let refused = FrameHeader::from_bytes([0, 0, 0, 0, kind]);
            assert_eq!(refused, Err(FrameError::UnknownKind { kind }));
        }
    }

    #[test]
    fn a_header_is_judged_by_kind_and_length() {
        let header = |kind, length| FrameHeader { kind, length };
        let wanted = [
            (FrameKind::Data, Room::Exactly(10)),
            (FrameKind::Abort, Room::AtMost(4)),
        ];
        let (exactly, at_most) = (Ok(Room::Exactly(10)), Ok(Room::AtMost(4)));
        assert_eq!(admit(header(FrameKind::Data, 10), &wanted), exactly);
        assert_eq!(admit(header(FrameKind::Abort, 4), &wanted), at_most);
        assert_eq!(admit(header(FrameKind::Abort, 0), &wanted), at_most);
        for claimed in [9, 11, u32::MAX] {
            assert_eq!(
                admit(header(FrameKind::Data, claimed), &wanted),
                Err(FrameError::WrongLength {
                    kind: FrameKind::Data,
                    claimed: claimed as usize,
                    expected: 10
                })
            );
        }
        assert_eq!(
            admit(header(FrameKind::Abort, 5), &wanted),
            Err(FrameError::TooLong {
                kind: FrameKind::Abort,
                claimed: 5,
                max: 4
            })
        );
        assert_eq!(
            admit(header(FrameKind::Hello, 0), &wanted),
            Err(FrameError::UnexpectedKind {
                found: FrameKind::Hello,
                expected: vec![FrameKind::Data, FrameKind::Abort]
            })
        );
    }
}
