use ai_link_wire::*;

/// RFC 8032, section 7.1, test 1.
#[test]
fn signatures_are_rfc_8032() {
    let seed = hex32("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let identity = Identity::from_seed(seed);
    let public = hex32("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    assert_eq!(identity.peer_key(), PeerKey(public));
    assert_eq!(
        identity.sign(b"").to_string(),
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf\
         9b46bd25bf5f0595bbe24655141438e7a100b"
    );
    identity
        .sign(b"x")
        .verify(&identity.peer_key(), b"x")
        .unwrap();
    identity
        .sign(b"x")
        .verify(&identity.peer_key(), b"y")
        .unwrap_err();
    identity
        .sign(b"x")
        .verify(&PeerKey([0; 32]), b"x")
        .unwrap_err();
}

/// Computed with another implementation of HKDF-SHA256.
#[test]
fn own_secrets_follow_from_key_and_purpose() {
    let seed = hex32("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let identity = Identity::from_seed(seed);
    assert_eq!(
        *identity.own_secret("pools"),
        hex32("acefb4bf50474c5da5e4057ee2677166afb69aaedcfa01b49bafa4a1bdb28f5c")
    );
    assert_ne!(*identity.own_secret("pools"), *identity.own_secret("pool"));
    let other = Identity::derive(b"dev", "worker-0");
    assert_ne!(*identity.own_secret("pools"), *other.own_secret("pools"));
}

/// Computed with another implementation of HKDF-SHA256 and ed25519.
#[test]
fn derived_identities_are_reproducible() {
    let identity = Identity::derive(b"dev", "worker-0");
    assert_eq!(
        *identity.secret_seed(),
        hex32("08d61c0213ffab1e364b593fa58e6e164c1c9010c3a4901bb2b7eb49c7df6ef0")
    );
    assert_eq!(
        identity.peer_key().to_string(),
        "a39f7d6145156692f2e6c378a5d273e0ab841bae6561f0d3a3f1047e4d9de230"
    );
    assert_ne!(
        identity.peer_key(),
        Identity::derive(b"dev", "worker-1").peer_key()
    );
    assert_ne!(
        identity.peer_key(),
        Identity::derive(b"prod", "worker-0").peer_key()
    );
}

#[test]
fn debug_shows_no_secret() {
    let identity = Identity::from_seed([0xab; 32]);
    let text = format!("{identity:?} {:?}", NodeConfig::loopback(identity.clone()));
    assert!(text.contains(&identity.peer_key().to_string()));
    assert!(
        !text.contains("abababab") && !text.contains("171, 171"),
        "{text}"
    );
}

#[test]
fn key_files_round_trip_and_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let identity = Identity::generate();
    identity.save(&path).unwrap();
    assert_eq!(
        Identity::load(&path).unwrap().peer_key(),
        identity.peer_key()
    );
    let again = Identity::generate().save(&path).unwrap_err();
    assert!(
        matches!(again, IdentityError::Write { .. }),
        "a key was overwritten: {again:?}"
    );

    std::fs::write(&path, "0123\n").unwrap();
    assert!(matches!(
        Identity::load(&path),
        Err(IdentityError::Malformed { .. })
    ));
    std::fs::write(&path, "ab".repeat(40)).unwrap();
    assert!(matches!(
        Identity::load(&path),
        Err(IdentityError::Malformed { .. })
    ));
    assert!(matches!(
        Identity::load(dir.path().join("none")),
        Err(IdentityError::Read { .. })
    ));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    Identity::generate().save(&path).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Identity::load(&path),
        Err(IdentityError::Exposed { mode: 0o640, .. })
    ));
}

#[test]
fn peer_ids_are_those_of_libp2p() {
    let identity = Identity::derive(b"dev", "peer");
    let keypair =
        libp2p::identity::Keypair::ed25519_from_bytes(identity.secret_seed().to_vec()).unwrap();
    assert_eq!(identity.peer_id(), keypair.public().to_peer_id());
    assert_eq!(
        PeerKey::try_from(identity.peer_id()),
        Ok(identity.peer_key())
    );
    let other = libp2p::PeerId::random();
    assert_eq!(PeerKey::try_from(other).unwrap_err().peer, other);
}

pub fn hex32(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).unwrap();
    bytes
}
