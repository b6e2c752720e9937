//! The handshake of a direct connection: TLS 1.3 as the libp2p TLS specification has it
//! (<https://github.com/libp2p/specs/blob/master/tls/tls.md>).
//!
//! Both sides show a certificate of a fresh key, signed with the ed25519 key that is their peer id;
//! making and judging it is `libp2p-tls`' code, the one that QUIC connections use. Two things
//! differ from its ready-made configurations: AES-GCM comes first where the processor has AES (there
//! ChaCha20 does, at a third of the speed), and the application protocol is this one.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use libp2p::PeerId;
use libp2p::identity::Keypair;
use libp2p_tls::certificate;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring::{self, cipher_suite};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, Connection, DigitallySignedStruct, DistinguishedName, Error,
    OtherError, ServerConfig, SignatureScheme, crypto::CryptoProvider, version::TLS13,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::record::{Opener, Sealer};
use crate::Identity;

/// The application protocol: frames of a bulk stream, one stream after the other.
const PROTOCOL: &[u8] = b"ai-link/direct/1";

/// What this node shows in handshakes.
pub(super) struct Credentials {
    provider: Arc<CryptoProvider>,
    shown: Arc<SingleCertAndKey>,
    serving: Arc<ServerConfig>,
}

/// A connection after its handshake.
pub(super) struct Secured {
    pub(super) socket: TcpStream,
    /// Proven.
    pub(super) peer: PeerId,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
}

impl Credentials {
    /// Makes the certificate of a node.
    ///
    /// # Errors
    /// In words, when the libraries cannot.
    pub(super) fn new(identity: &Identity) -> Result<Self, String> {
        let keypair = Keypair::ed25519_from_bytes(identity.secret_seed().as_mut())
            .map_err(|error| error.to_string())?;
        let (certificate, key) =
            certificate::generate(&keypair).map_err(|error| error.to_string())?;
        let provider = Arc::new(provider());
        let key = ring::sign::any_ecdsa_type(&key).map_err(|error| error.to_string())?;
        let shown = Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            vec![certificate],
            key,
        )));
        let serving = serving(&provider, &shown).map_err(|error| error.to_string())?;
        Ok(Self {
            provider,
            shown,
            serving: Arc::new(serving),
        })
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        self.serving.clone()
    }

    pub(super) fn client_config(&self, wanted: PeerId) -> Result<ClientConfig, Error> {
        let verifier = Verifier {
            wanted: Some(wanted),
        };
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(self.shown.clone());
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_secret_extraction = true;
        config.enable_sni = false;
        Ok(config)
    }

    /// The dialler's side. The caller sets the deadline.
    ///
    /// # Errors
    /// With a [`WrongPeer`] inside when someone else is there; see [`wrong_peer`].
    pub(super) async fn connect(&self, socket: TcpStream, wanted: PeerId) -> io::Result<Secured> {
        let config = self.client_config(wanted).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(no_name(), socket)
            .await?;
        let (socket, connection) = stream.into_inner();
        secured(socket, connection.into())
    }

    /// The listener's side. The caller sets the deadline.
    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<Secured> {
        let stream = TlsAcceptor::from(self.server_config())
            .accept(socket)
            .await?;
        let (socket, connection) = stream.into_inner();
        secured(socket, connection.into())
    }
}

/// Peers are known by their keys, so that names are neither sent nor checked.
pub(super) fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into())
}

fn serving(
    provider: &Arc<CryptoProvider>,
    shown: &Arc<SingleCertAndKey>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier { wanted: None }))
        .with_cert_resolver(shown.clone());
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A ticket would come as a record of the handshake after it, and is not needed: connections stay.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.enable_secret_extraction = true;
    Ok(config)
}

fn provider() -> CryptoProvider {
    let mut suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    if !has_aes() {
        suites.rotate_right(1);
    }
    CryptoProvider {
        cipher_suites: suites,
        ..ring::default_provider()
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

fn secured(socket: TcpStream, mut connection: Connection) -> io::Result<Secured> {
    let refused = |why: &'static str| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    if connection.alpn_protocol() != Some(PROTOCOL) {
        return refused("the peer does not speak this protocol");
    }
    let Some([shown]) = connection.peer_certificates() else {
        return refused("the peer showed no single certificate");
    };
    let peer = parse(shown).map_err(io::Error::other)?;
    // Both sides wait for the other in turn: the dialler for a verdict, the listener until it gave one.
    let state = connection.process_new_packets().map_err(io::Error::other)?;
    if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() {
        return refused("the peer did not wait for its turn");
    }
    let Some(suite) = connection.negotiated_cipher_suite() else {
        return refused("the handshake ended without a cipher suite");
    };
    let secrets = connection
        .dangerous_extract_secrets()
        .map_err(io::Error::other)?;
    Ok(Secured {
        socket,
        peer,
        sealer: Sealer::new(suite, secrets.tx).map_err(io::Error::other)?,
        opener: Opener::new(suite, secrets.rx).map_err(io::Error::other)?,
    })
}

/// Someone else than the one who was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} is there, not {wanted}")]
pub(super) struct WrongPeer {
    pub(super) wanted: PeerId,
    pub(super) found: PeerId,
}

/// Who was found instead, if that is why a handshake failed.
pub(super) fn wrong_peer(error: &io::Error) -> Option<PeerId> {
    match error.get_ref()?.downcast_ref()? {
        Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
            why.downcast_ref::<WrongPeer>().map(|wrong| wrong.found)
        }
        _ => None,
    }
}

/// Judges certificates as `libp2p-tls` does: exactly one, signed by itself, with the signature of
/// the peer's key over its own.
#[derive(Debug)]
struct Verifier {
    wanted: Option<PeerId>,
}

impl Verifier {
    fn judge(&self, shown: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !more.is_empty() {
            return Err(CertificateError::BadEncoding.into());
        }
        let found = parse(shown)?;
        match self.wanted {
            Some(wanted) if wanted != found => Err(other(WrongPeer { wanted, found })),
            _ => Ok(()),
        }
    }
}

fn parse(shown: &CertificateDer<'_>) -> Result<PeerId, Error> {
    certificate::parse(shown)
        .map(|certificate| certificate.peer_id())
        .map_err(other)
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn verify(
    message: &[u8],
    shown: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    certificate::parse(shown)
        .map_err(other)?
        .verify_signature(signed.scheme, message, signed.signature())
        .map_err(other)?;
    Ok(HandshakeSignatureValid::assertion())
}

fn never_below_13() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("only TLS 1.3 is spoken".into()))
}

/// What `libp2p-tls` can verify, without RSA, which no implementation has to offer.
fn schemes() -> Vec<SignatureScheme> {
    vec![
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ED25519,
    ]
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(shown, more)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never_below_13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(shown, more)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never_below_13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}
