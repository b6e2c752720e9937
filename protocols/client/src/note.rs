//! Telling the workers of a delivered job that it is accepted, and that the coordinator has it.

use std::time::Duration;

use ai_link_wire::node::Node;
use ai_link_wire::{ControlRequest, ControlResponse, GroupMember, JobClaim, UnixMillis};
use futures::future::join_all;

use crate::client::Coordinator;
use crate::receipts::Receipts;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A coordinator that wants longer than this to settle has promised nothing.
const SETTLED_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// One delivered job.
pub(crate) struct Note {
    pub(crate) node: Node,
    pub(crate) coordinator: Coordinator,
    pub(crate) receipts: Receipts,
    pub(crate) claim: JobClaim,
}

impl Note {
    pub(crate) async fn run(mut self) {
        let Ok(ticket) = self.claim.ticket.verify_at_any_time() else {
            return;
        };
        let (job, group) = (ticket.job, ticket.group.clone());
        let (peer, addresses) = (self.coordinator.peer, &self.coordinator.addresses);
        let ask = ControlRequest::Proof(job);
        let asked = self.node.request(peer, addresses, ask, ANSWER_WITHIN);
        if let Ok(ControlResponse::Proof(Some(proof))) = asked.await {
            let latest = UnixMillis::now().saturating_add(SETTLED_WITHIN);
            let promise = proof.claim.acknowledgement;
            let promise = promise.filter(|promise| promise.settle_by <= latest);
            let claim = JobClaim {
                acknowledgement: promise,
                ..self.claim.clone()
            };
            // For this ticket and this voucher, or it is nothing.
            if claim.check().is_ok() {
                self.claim = claim;
            }
        }
        if self.claim.acknowledgement.is_none() {
            tracing::warn!(%job, "the coordinator does not acknowledge a job that it was paid for");
        }
        if let Err(error) = self.receipts.save_claim(job, &self.claim) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%job, error, "the claim is not kept");
        }
        join_all(group.iter().map(|member| self.tell(member))).await;
    }

    async fn tell(&self, member: &GroupMember) {
        let note = ControlRequest::Accepted(Box::new(self.claim.clone()));
        let peer = member.peer.peer_id();
        let told = self
            .node
            .request(peer, &member.addresses, note, ANSWER_WITHIN);
        match told.await {
            Ok(ControlResponse::AcceptanceNoted) => {}
            Ok(answer) => tracing::debug!(%peer, ?answer, "a worker does not note its job"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(%peer, error, "a worker was not told that its job is accepted");
            }
        }
    }
}
