//! Links of background work: they wait while a session runs.

use ai_link_mpc::{LinkError, Links, Party};
use ai_link_session::links::SessionLinks;

use crate::activity::Activity;

/// Streams over which nothing moves while a session runs on this worker. The other side waits too: streams have
/// bounded queues.
pub(super) struct PacedLinks<'a> {
    pub(super) links: &'a mut SessionLinks,
    pub(super) activity: &'a Activity,
}

impl Links for PacedLinks<'_> {
    async fn send(&mut self, to: Party, payload: Vec<u8>) -> Result<(), LinkError> {
        self.activity.idle().await;
        self.links.send(to, payload).await
    }

    async fn recv(&mut self, from: Party, bytes: usize) -> Result<Vec<u8>, LinkError> {
        self.activity.idle().await;
        self.links.recv(from, bytes).await
    }
}
