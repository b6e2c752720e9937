//! Records of TLS 1.3 (RFC 8446, section 5), each direction by itself.
//!
//! rustls does the handshake and gives out the two traffic keys, as it does for kernels that encrypt
//! by themselves; here are only the sequence number and the five bytes in front of each record.
//! Encrypting stays with rustls' own cipher suites. What is gained: the two directions
//! share no lock, a record is decrypted where it lies, and many records go out in one write.
//!
//! Keys are not changed under way. A direction ends at the suite's confidentiality limit (with
//! AES-GCM 2^24 records, or 256 GiB), and a connection past half of it carries no further stream.

use std::io;

use tokio_rustls::rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use tokio_rustls::rustls::{
    ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite,
};

/// Most content of a record.
pub(super) const CONTENT: usize = 16 << 10;
/// Bytes in front of each record.
pub(super) const HEADER: usize = 5;
/// Bytes of a record at most: RFC 8446 allows 256 for content type, padding and tag.
pub(super) const LONGEST: usize = HEADER + CONTENT + 256;
/// Content type and tag of the least.
const SHORTEST: usize = HEADER + 17;

/// Alert `close_notify`, a warning.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// Seals what this side sends.
pub(super) struct Sealer {
    key: Box<dyn MessageEncrypter>,
    numbers: Numbers,
}

/// Opens what the peer sends.
pub(super) struct Opener {
    key: Box<dyn MessageDecrypter>,
    numbers: Numbers,
}

/// The numbers of the records of one direction, from which nonces are made.
struct Numbers {
    next: u64,
    /// The suite's confidentiality limit.
    limit: u64,
}

impl Numbers {
    /// A number is used once: past the limit there is none, and an error does not give it back.
    fn take(&mut self) -> io::Result<u64> {
        if self.next >= self.limit {
            return Err(io::Error::other("the key of this connection is used up"));
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    fn are_worn(&self) -> bool {
        self.next >= self.limit / 2
    }
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// So many bytes, from [`HEADER`] on in the record.
    Data(usize),
    /// The peer sends nothing more.
    Closed,
}

impl Sealer {
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (next, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let (key, iv) = parts(secrets)?;
        let suite = suite.tls13().ok_or(Error::HandshakeNotComplete)?;
        Ok(Self {
            key: suite.aead_alg.encrypter(key, iv),
            numbers: Numbers {
                next,
                limit: suite.common.confidentiality_limit,
            },
        })
    }

    /// One record of at most [`CONTENT`] bytes, which may be none.
    pub(super) fn seal(&mut self, content: &[&[u8]]) -> io::Result<Vec<u8>> {
        self.record(ContentType::ApplicationData, content)
    }

    /// The record after which there is none.
    pub(super) fn close(&mut self) -> io::Result<Vec<u8>> {
        self.record(ContentType::Alert, &[&CLOSE_NOTIFY])
    }

    fn record(&mut self, typ: ContentType, content: &[&[u8]]) -> io::Result<Vec<u8>> {
        let number = self.numbers.take()?;
        let plain = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::new(content),
        };
        let sealed = self.key.encrypt(plain, number).map_err(io::Error::other)?;
        Ok(sealed.encode())
    }

    pub(super) fn is_worn(&self) -> bool {
        self.numbers.are_worn()
    }
}

impl Opener {
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (next, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let (key, iv) = parts(secrets)?;
        let suite = suite.tls13().ok_or(Error::HandshakeNotComplete)?;
        Ok(Self {
            key: suite.aead_alg.decrypter(key, iv),
            numbers: Numbers {
                next,
                limit: suite.common.confidentiality_limit,
            },
        })
    }

    /// Opens a whole record in its place.
    pub(super) fn open(&mut self, record: &mut [u8]) -> io::Result<Content> {
        let Some(body) = record.get_mut(HEADER..) else {
            return Err(malformed("a record without header"));
        };
        let number = self.numbers.take()?;
        let sealed =
            InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, body);
        let plain = self
            .key
            .decrypt(sealed, number)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match plain.typ {
            ContentType::ApplicationData => Ok(Content::Data(plain.payload.len())),
            ContentType::Alert if plain.payload == CLOSE_NOTIFY => Ok(Content::Closed),
            ContentType::Alert => Err(malformed("the peer sent an alert")),
            _ => Err(malformed("a record that is neither data nor alert")),
        }
    }

    pub(super) fn is_worn(&self) -> bool {
        self.numbers.are_worn()
    }
}

/// Bytes of the record that begins here, if its header is there.
pub(super) fn length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let [typ, major, minor, high, low, ..] = *bytes else {
        return Ok(None);
    };
    // After the handshake all records look like data.
    if (typ, major, minor) != (23, 3, 3) {
        return Err(malformed("bytes that are no TLS record"));
    }
    let length = HEADER + usize::from(u16::from_be_bytes([high, low]));
    match (SHORTEST..=LONGEST).contains(&length) {
        true => Ok(Some(length)),
        false => Err(malformed("a TLS record of impossible length")),
    }
}

fn parts(secrets: ConnectionTrafficSecrets) -> Result<(AeadKey, Iv), Error> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv)),
        _ => Err(Error::General("a cipher suite that was not offered".into())),
    }
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;

    use tokio_rustls::rustls::{
        ClientConnection, Connection, ConnectionCommon, ServerConnection, SideData,
    };

    use super::super::tls::Credentials;
    use super::*;
    use crate::Identity;

    /// Both ends of a connection after the handshake, in rustls' own hands.
    fn shaken() -> (ClientConnection, ServerConnection) {
        let credentials = |name: &str| {
            let identity = Identity::derive(b"record tests", name);
            (Credentials::new(&identity).unwrap(), identity.peer_id())
        };
        let ((asking, _), (serving, peer)) = (credentials("client"), credentials("server"));
        let config = asking.client_config(peer).unwrap();
        let mut client =
            ClientConnection::new(Arc::new(config), super::super::tls::no_name()).unwrap();
        let mut server = ServerConnection::new(serving.server_config()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            pass(&mut client, &mut server);
            pass(&mut server, &mut client);
        }
        (client, server)
    }

    fn pass<A: SideData, B: SideData>(
        from: &mut ConnectionCommon<A>,
        to: &mut ConnectionCommon<B>,
    ) {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes).unwrap();
        }
        feed(to, &bytes);
    }

    fn feed<A: SideData>(to: &mut ConnectionCommon<A>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            to.read_tls(&mut bytes).unwrap();
            to.process_new_packets().unwrap();
        }
    }

    fn split(connection: Connection) -> (Sealer, Opener) {
        let suite = connection.negotiated_cipher_suite().unwrap();
        let secrets = connection.dangerous_extract_secrets().unwrap();
        (
            Sealer::new(suite, secrets.tx).unwrap(),
            Opener::new(suite, secrets.rx).unwrap(),
        )
    }

    #[test]
    fn rustls_reads_what_is_sealed_here_and_the_other_way_round() {
        let (client, mut server) = shaken();
        let (mut sealer, mut opener) = split(client.into());
        for length in [0, 1, 5, 1000, CONTENT] {
            let text: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let (front, back) = text.split_at(length / 3);
            feed(&mut server, &sealer.seal(&[front, back]).unwrap());
            let mut read = vec![0; length];
            server.reader().read_exact(&mut read).unwrap();
            assert!(read == text, "{length} bytes to rustls");

            server.writer().write_all(&text).unwrap();
            let mut record = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut record).unwrap();
            }
            if length == 0 {
                // rustls has nothing to send then.
                assert!(record.is_empty());
                continue;
            }
            assert_eq!(super::length(&record).unwrap(), Some(record.len()));
            assert_eq!(opener.open(&mut record).unwrap(), Content::Data(length));
            assert!(
                record[HEADER..HEADER + length] == text[..],
                "{length} bytes from rustls"
            );
        }
        feed(&mut server, &sealer.close().unwrap());
        assert_eq!(
            server.reader().read(&mut [0; 8]).unwrap(),
            0,
            "an orderly end"
        );
        server.send_close_notify();
        let mut record = Vec::new();
        server.write_tls(&mut record).unwrap();
        assert_eq!(opener.open(&mut record).unwrap(), Content::Closed);
    }

    #[test]
    fn a_record_opens_once_in_its_place_and_unchanged() {
        let pair = || {
            let (client, server) = shaken();
            (split(client.into()).0, split(server.into()).1)
        };
        let (mut sealer, mut opener) = pair();
        let first = sealer.seal(&[b"first"]).unwrap();
        let second = sealer.seal(&[b"second"]).unwrap();
        assert_eq!(opener.open(&mut first.clone()).unwrap(), Content::Data(5));
        assert!(opener.open(&mut first.clone()).is_err(), "sent again");
        let (_, mut opener) = pair();
        assert!(
            opener.open(&mut second.clone()).is_err(),
            "of another connection"
        );

        for at in HEADER..first.len() {
            let (mut sealer, mut opener) = pair();
            let mut record = sealer.seal(&[b"first"]).unwrap();
            record[at] ^= 1;
            assert!(opener.open(&mut record).is_err(), "byte {at} changed");
        }
    }

    #[test]
    fn keys_end_at_their_limit() {
        let (client, server) = shaken();
        let (mut sealer, _) = split(client.into());
        let (_, mut opener) = split(server.into());
        (sealer.numbers.limit, opener.numbers.limit) = (3, 2);
        let records: Vec<_> = (0..3).map(|_| sealer.seal(&[b"x"]).unwrap()).collect();
        assert!(sealer.is_worn() && sealer.seal(&[b"x"]).is_err());
        assert!(sealer.close().is_err());
        for record in &records[..2] {
            assert_eq!(opener.open(&mut record.clone()).unwrap(), Content::Data(1));
        }
        assert!(opener.is_worn() && opener.open(&mut records[2].clone()).is_err());
    }

    #[test]
    fn headers_are_judged() {
        assert_eq!(length(&[]).unwrap(), None);
        assert_eq!(length(&[23, 3, 3, 1]).unwrap(), None);
        assert_eq!(length(&[23, 3, 3, 1, 2]).unwrap(), Some(5 + 0x102));
        assert_eq!(length(&[23, 3, 3, 0x41, 0]).unwrap(), Some(LONGEST));
        for bad in [
            [22, 3, 3, 1, 2],
            [23, 3, 1, 1, 2],
            [23, 3, 3, 0, 16],
            [23, 3, 3, 0x41, 1],
            *b"GET /",
        ] {
            assert!(length(&bad).is_err(), "{bad:?}");
        }
    }
}
