//! A ticket for tests.

use ai_link_wire::{
    AccountId, Commitment, DealerSeat, Fid, GroupMember, JobId, Level, ModelVersion, PeerKey,
    Planck, Role, SignatureBytes, Ticket, UnixMillis,
};

/// Whoever is number `i` in the group has peer key and operator `i`.
pub(crate) fn ticket(evaluators: u8, dealer: DealerSeat) -> Ticket {
    let roles = Role::of_group(Level::Mpc, evaluators, dealer).expect("a group");
    let members = (0..).zip(roles).map(|(i, role)| GroupMember {
        role,
        peer: PeerKey([i; 32]),
        operator: AccountId([i; 32]),
        addresses: Vec::new(),
    });
    let ticket = Ticket {
        job: JobId([1; 16]),
        attempt: 0,
        client: AccountId([100; 32]),
        coordinator: AccountId([101; 32]),
        model: "digits".parse().expect("a name"),
        version: ModelVersion(1),
        commitment: Commitment([1; 32]),
        manifest: Fid([1; 32]),
        level: Level::Mpc,
        dealer,
        evaluators,
        sharing: None,
        inputs: Vec::new(),
        batch: 1,
        group: members.collect(),
        price: Planck(0),
        payouts: Vec::new(),
        deadline: UnixMillis(1),
        terms_signature: SignatureBytes([0; 64]),
    };
    ticket.check().expect("a ticket that holds");
    ticket
}
