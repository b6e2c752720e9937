//! Links of a session between two nodes on loopback, on a direct connection and through libp2p.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use ai_link_mpc::{Links as _, Party};
use ai_link_session::links::{SessionError, SessionLinks};
use ai_link_wire::node::Carrier;
use ai_link_wire::{Abort, FrameKind, Identity, Incoming, Node, NodeConfig};

const SOON: Duration = Duration::from_secs(20);
const ZERO: Party = Party::EVALUATOR_0;
const ONE: Party = Party::EVALUATOR_1;

struct Bed {
    near: Node,
    far: Node,
    incoming: Incoming,
}

impl Bed {
    async fn new() -> Self {
        let (near, _) = Node::start(NodeConfig::client(Identity::generate()))
            .await
            .unwrap();
        let listening = NodeConfig::loopback(Identity::generate());
        let (far, incoming) = Node::start(listening).await.unwrap();
        Self {
            near,
            far,
            incoming,
        }
    }

    /// What evaluator 0 has, then what evaluator 1 has.
    async fn links(&mut self, carrier: Carrier) -> (SessionLinks, SessionLinks) {
        let mut addresses = self.far.listen_addrs();
        let direct = |address: &ai_link_wire::Multiaddr| address.to_string().ends_with("/tls");
        addresses.retain(|address| direct(address) == (carrier == Carrier::Direct));
        let near = self
            .near
            .open(self.far.peer_id(), &addresses, SOON)
            .await
            .unwrap();
        let (_, far) = self.incoming.streams.recv().await.unwrap();
        assert_eq!((near.carrier(), far.carrier()), (carrier, carrier));
        (
            SessionLinks::new([(ONE, self.far.peer_key(), near)]),
            SessionLinks::new([(ZERO, self.near.peer_key(), far)]),
        )
    }
}

/// Some that go out at once, some that do not, some that are begun at once.
fn frames() -> Vec<Vec<u8>> {
    let sizes = [
        0,
        1,
        64,
        10_000,
        65_536,
        65_537,
        1 << 20,
        3,
        400_000,
        60_000,
    ];
    (0..80_u8)
        .map(|n| vec![n; sizes[usize::from(n) % sizes.len()]])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_all_sizes_keep_their_order() {
    for carrier in [Carrier::Direct, Carrier::Libp2p] {
        let mut bed = Bed::new().await;
        let (mut zero, mut one) = bed.links(carrier).await;
        let sending = tokio::spawn(async move {
            for frame in frames() {
                zero.send(ONE, frame).await.unwrap();
            }
            zero
        });
        for frame in frames() {
            let got = one.recv(ZERO, frame.len()).await.unwrap();
            assert!(got == frame, "{carrier:?}, frame {:?}", frame.first());
        }
        sending.await.unwrap();
    }
}

/// Both send what no buffer holds before they read, which must not be a deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn both_may_send_before_they_read() {
    for carrier in [Carrier::Direct, Carrier::Libp2p] {
        let mut bed = Bed::new().await;
        let (mut zero, mut one) = bed.links(carrier).await;
        let (sizes, opening) = ([50_000, 16 << 20, 100], |who: u8, n| vec![who; n]);
        let exchange = async |links: &mut SessionLinks, to, me: u8, other: u8| {
            for n in sizes {
                links.send(to, opening(me, n)).await.unwrap();
            }
            for n in sizes {
                assert!(links.recv(to, n).await.unwrap() == opening(other, n));
            }
        };
        tokio::join!(
            exchange(&mut zero, ONE, 1, 2),
            exchange(&mut one, ZERO, 2, 1)
        );
    }
}

/// Who is far ahead of a slow reader waits, instead of filling memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_bounded() {
    for (carrier, bytes) in [
        (Carrier::Direct, 60_000),
        (Carrier::Direct, 1 << 20),
        (Carrier::Libp2p, 1 << 20),
    ] {
        let mut bed = Bed::new().await;
        let (mut zero, _one) = bed.links(carrier).await;
        // Far more than sockets and windows hold.
        let mut left = (256 << 20) / bytes;
        let ahead = async {
            while left > 0 {
                zero.send(ONE, vec![1; bytes]).await.unwrap();
                left -= 1;
            }
        };
        let waits = tokio::time::timeout(Duration::from_secs(2), ahead).await;
        assert!(waits.is_err() && left > 0, "{carrier:?} took everything");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_sessions_one_after_the_other() {
    let mut bed = Bed::new().await;
    for round in 0..3_u8 {
        let (mut zero, mut one) = bed.links(Carrier::Direct).await;
        zero.send(ONE, vec![round; 100]).await.unwrap();
        assert_eq!(one.recv(ZERO, 100).await.unwrap(), vec![round; 100]);
        one.send_frame(ZERO, FrameKind::Receipt, b"done".to_vec())
            .await
            .unwrap();
        let receipt = zero.recv_frame(ONE, FrameKind::Receipt, 10).await.unwrap();
        assert_eq!(receipt, b"done");
        tokio::join!(zero.close(), one.close());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_names_the_culprit_and_a_broken_stream_its_peer() {
    for carrier in [Carrier::Direct, Carrier::Libp2p] {
        let mut bed = Bed::new().await;
        let (mut zero, mut one) = bed.links(carrier).await;
        let culprit = Identity::derive(b"links", "culprit").peer_key();
        one.abort(ZERO, &Abort::new("garbage", Some(culprit))).await;
        one.close().await;
        let error = zero
            .recv_frame(ONE, FrameKind::Data, 100)
            .await
            .unwrap_err();
        assert!(matches!(error, SessionError::Aborted { .. }), "{error:?}");
        assert_eq!(error.culprit(), Some(culprit));

        let (mut zero, one) = bed.links(carrier).await;
        drop(one);
        let error = zero
            .recv_frame(ONE, FrameKind::Data, 100)
            .await
            .unwrap_err();
        assert_eq!(error.culprit(), Some(bed.far.peer_key()), "{error:?}");
    }
}
