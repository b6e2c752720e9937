//! Links of a session that carry the benchmark's own words as well.

use std::collections::HashMap;

use ai_link_mpc::{LinkError, Links, Party};
use ai_link_session::links::SessionLinks;
use ai_link_wire::node::FrameKind;
use ai_link_wire::{Limit, codec};
use anyhow::{Context as _, anyhow};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

/// Longest of the benchmark's own words.
const WORD: Limit = Limit::RECORD;

/// Links on which parties talk between sessions.
pub(super) trait Wires: Links {
    /// Sends a word.
    fn say_bytes(
        &mut self,
        to: Party,
        bytes: Vec<u8>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// The next word of a party.
    fn hear_bytes(&mut self, from: Party) -> impl Future<Output = anyhow::Result<Vec<u8>>> + Send;

    /// Sends a word.
    fn say<T: Serialize + Sync>(
        &mut self,
        to: Party,
        word: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send
    where
        Self: Sized,
    {
        let bytes = codec::encode(word, WORD);
        async move { self.say_bytes(to, bytes?).await }
    }

    /// The next word of a party.
    fn hear<T: DeserializeOwned>(
        &mut self,
        from: Party,
    ) -> impl Future<Output = anyhow::Result<T>> + Send
    where
        Self: Sized,
    {
        async move {
            let bytes = self.hear_bytes(from).await;
            let bytes = bytes.with_context(|| format!("{from} is gone"))?;
            Ok(codec::decode(&bytes, WORD)?)
        }
    }
}

impl Wires for SessionLinks {
    async fn say_bytes(&mut self, to: Party, bytes: Vec<u8>) -> anyhow::Result<()> {
        Ok(self.send_frame(to, FrameKind::Hello, bytes).await?)
    }

    async fn hear_bytes(&mut self, from: Party) -> anyhow::Result<Vec<u8>> {
        Ok(self.recv_frame(from, FrameKind::Hello, WORD.get()).await?)
    }
}

/// Messages that may wait in a channel; see [`Links`].
const QUEUE: usize = 4;

/// One party's links to the others of the same process.
pub(super) struct ChannelLinks {
    senders: HashMap<Party, mpsc::Sender<Vec<u8>>>,
    receivers: HashMap<Party, mpsc::Receiver<Vec<u8>>>,
}

impl ChannelLinks {
    /// Links between all of `parties`, in their order.
    pub(super) fn between<const N: usize>(parties: [Party; N]) -> [Self; N] {
        let mut links = parties.map(|_| Self {
            senders: HashMap::new(),
            receivers: HashMap::new(),
        });
        for (i, a) in parties.into_iter().enumerate() {
            for (j, b) in parties.into_iter().enumerate().filter(|(j, _)| *j != i) {
                let (sender, receiver) = mpsc::channel(QUEUE);
                links[i].senders.insert(b, sender);
                links[j].receivers.insert(a, receiver);
            }
        }
        links
    }
}

impl Links for ChannelLinks {
    async fn send(&mut self, to: Party, payload: Vec<u8>) -> Result<(), LinkError> {
        let sender = self
            .senders
            .get(&to)
            .ok_or_else(|| LinkError::new("no such party"))?;
        sender.send(payload).await.map_err(LinkError::new)
    }

    async fn recv(&mut self, from: Party, bytes: usize) -> Result<Vec<u8>, LinkError> {
        let receiver = self.receivers.get_mut(&from);
        let receiver = receiver.ok_or_else(|| LinkError::new("no such party"))?;
        let payload = receiver.recv().await;
        let payload = payload.ok_or_else(|| LinkError::new("the other side is gone"))?;
        match payload.len() == bytes {
            true => Ok(payload),
            false => Err(LinkError::new(format!(
                "{} bytes instead of {bytes}",
                payload.len()
            ))),
        }
    }
}

impl Wires for ChannelLinks {
    async fn say_bytes(&mut self, to: Party, bytes: Vec<u8>) -> anyhow::Result<()> {
        Ok(self.send(to, bytes).await?)
    }

    async fn hear_bytes(&mut self, from: Party) -> anyhow::Result<Vec<u8>> {
        let receiver = self.receivers.get_mut(&from);
        let received = receiver
            .ok_or_else(|| anyhow!("no such party"))?
            .recv()
            .await;
        received.ok_or_else(|| anyhow!("the other side is gone"))
    }
}
