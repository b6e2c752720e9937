//! Tagging an object, challenging its nodes, and repairing what they cannot prove.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};

use super::{SpreadStore, read, repair};
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::layout::FRAGMENTS;
use crate::node::{NodeError, NodeId};
use crate::podr2::{AuditAction, AuditConfig, Auditor, PublicKey, Subject, TagSet, Verdict};
use crate::tally::Unproven;

/// Files asked for at a time.
const PAGE: usize = 1000;

/// Whoever tags fragments: it alone holds the secret key.
#[async_trait::async_trait]
pub trait Tagger: Send + Sync {
    /// The key that proofs are checked with.
    fn public(&self) -> &PublicKey;

    /// The tags of a fragment, given without trailing zeros.
    ///
    /// # Errors
    ///
    /// [`StorageError`] of whatever it is behind.
    async fn tag(&self, fragment: ContentHash, bytes: bytes::Bytes)
    -> Result<TagSet, StorageError>;
}

/// What a round of challenges found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Answers that hold.
    pub proven: u64,
    /// Answers that do not, or did not come.
    pub failed: u64,
    /// Indices of files that were rebuilt because of it, with the node that lost them.
    pub repaired: Vec<(Fid, u8, NodeId)>,
    /// What could not be rebuilt, and why.
    pub unrepaired: Vec<(Fid, String)>,
}

impl SpreadStore {
    /// Has every fragment of an object tagged that is not yet, gives the tags to the nodes, and records
    /// them. Gives how many fragments were tagged.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], [`StorageError::Node`] if a node does not give a fragment or take
    /// tags (repair the object first), [`StorageError::Tags`] if the tags are not the tagger's.
    pub async fn tag(&self, fid: Fid, tagger: &dyn Tagger) -> Result<u64, StorageError> {
        let inner = &self.inner;
        let record = inner.file(fid).await?;
        let zero = inner.codec.zero_fragment();
        let mut tagged = 0;
        for segment in &record.segments {
            for (index, hash) in segment.fragments.iter().enumerate() {
                let node = record.placement[index];
                if *hash == zero || inner.bank.tag(node, *hash).await?.is_some() {
                    continue;
                }
                let failed = StorageError::node(node);
                let member = inner.members.get(&node);
                let member = member.ok_or(StorageError::NodeUnknown { node })?;
                let bytes = read::fetch(inner, node, *hash).await.map_err(failed)?;
                let tags = tagger.tag(*hash, bytes).await?;
                tags.verify(tagger.public()).map_err(StorageError::Tags)?;
                if tags.fragment() != *hash {
                    return Err(StorageError::Tags(crate::podr2::TagError::Signature));
                }
                member
                    .node
                    .put_tags(&tags)
                    .await
                    .map_err(StorageError::node(node))?;
                inner.bank.tagged(node, tags.key()).await?;
                tagged += 1;
            }
        }
        Ok(tagged)
    }

    /// Lets `auditor` watch the tagged fragments of an object at their nodes.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`].
    pub async fn watch(
        &self,
        auditor: &mut Auditor,
        fid: Fid,
        now: Duration,
    ) -> Result<(), StorageError> {
        let record = self.inner.file(fid).await?;
        for segment in &record.segments {
            for (index, hash) in segment.fragments.iter().enumerate() {
                let node = record.placement[index];
                let subject = Subject {
                    node,
                    fragment: *hash,
                };
                if auditor.is_watched(subject) {
                    continue;
                }
                if let Some(key) = self.inner.bank.tag(node, *hash).await? {
                    auditor.watch(node, key, now);
                }
            }
        }
        Ok(())
    }

    /// Tags, challenges and repairs all files for ever, looking for what is due every `pause`.
    pub async fn keep_proven(&self, tagger: &dyn Tagger, config: AuditConfig, pause: Duration) {
        let started = Instant::now();
        let mut auditor = Auditor::new(config, tagger.public().clone());
        loop {
            let mut files = Vec::new();
            if let Err(error) = self.round(tagger, &mut auditor, &mut files, started).await {
                tracing::warn!(%error, cause = ?std::error::Error::source(&error), "an audit failed");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One round of [`keep_proven`](Self::keep_proven).
    async fn round(
        &self,
        tagger: &dyn Tagger,
        auditor: &mut Auditor,
        files: &mut Vec<Fid>,
        started: Instant,
    ) -> Result<(), StorageError> {
        loop {
            let page = self.inner.bank.files(files.last().copied(), PAGE).await?;
            files.extend(&page);
            if page.len() < PAGE {
                break;
            }
        }
        for fid in &*files {
            // A file that cannot be tagged now is tried again; the others do not wait for it.
            if let Err(error) = self.tag(*fid, tagger).await {
                tracing::warn!(%fid, %error, "a file could not be tagged");
            }
            match self.watch(auditor, *fid, started.elapsed()).await {
                Ok(()) | Err(StorageError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let report = self.audit(auditor, files, started.elapsed()).await?;
        for (fid, index, node) in &report.repaired {
            tracing::warn!(%fid, index, %node, "what a node could not prove was rebuilt elsewhere");
        }
        for (fid, why) in &report.unrepaired {
            tracing::error!(%fid, why, "what a node could not prove could not be rebuilt");
        }
        Ok(())
    }

    /// Does what is due by `auditor` at `now`: sends challenges, judges answers, repairs what was
    /// not proven too often. `files` are those that are watched.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoEntropy`]; what fails at nodes is in the report.
    pub async fn audit(
        &self,
        auditor: &mut Auditor,
        files: &[Fid],
        now: Duration,
    ) -> Result<AuditReport, StorageError> {
        let mut report = AuditReport::default();
        let mut lost = Vec::new();
        let started = Instant::now();
        loop {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|_| StorageError::NoEntropy)?;
            let actions = auditor.poll(now + started.elapsed(), &seed);
            if actions.is_empty() {
                break;
            }
            let mut challenges = Vec::new();
            for action in actions {
                match action {
                    AuditAction::Challenge(subject, challenge) => {
                        challenges.push((subject, challenge));
                    }
                    AuditAction::Repair(subject) => lost.push(subject),
                }
            }
            let answers = stream::iter(challenges)
                .map(|(subject, challenge)| async move {
                    let member = self.inner.members.get(&subject.node);
                    let answer = match member {
                        Some(member) => member.node.prove(subject.fragment, &challenge).await,
                        None => Err(NodeError::Missing),
                    };
                    (subject, answer)
                })
                .buffer_unordered(4)
                .collect::<Vec<_>>()
                .await;
            for (subject, answer) in answers {
                if let Err(error) = &answer {
                    let (node, fragment) = (subject.node, subject.fragment);
                    tracing::warn!(%node, %fragment, %error, "a challenge was not answered");
                }
                let at = now + started.elapsed();
                let proof = answer.ok();
                let (verdict, action) = auditor.answer(subject, proof.as_ref(), at);
                match verdict {
                    Verdict::Proven => {
                        report.proven += 1;
                        self.inner.proofs.count((), Ok(()));
                    }
                    Verdict::Failed | Verdict::Unasked => {
                        report.failed += 1;
                        self.inner.proofs.count((), Err(Unproven::Failed));
                    }
                }
                if let Some(AuditAction::Repair(subject)) = action {
                    lost.push(subject);
                }
            }
        }
        for fid in files {
            self.replace(*fid, &lost, auditor, &mut report).await?;
        }
        Ok(report)
    }

    /// Rebuilds what nodes could not prove of an object, elsewhere.
    async fn replace(
        &self,
        fid: Fid,
        lost: &[Subject],
        auditor: &mut Auditor,
        report: &mut AuditReport,
    ) -> Result<(), StorageError> {
        let Some(record) = self.inner.bank.file(fid).await? else {
            return Ok(());
        };
        let indices: Vec<usize> = (0..FRAGMENTS)
            .filter(|index| {
                record.segments.iter().any(|segment| {
                    let (node, fragment) = (record.placement[*index], segment.fragments[*index]);
                    lost.contains(&Subject { node, fragment })
                })
            })
            .collect();
        if indices.is_empty() {
            return Ok(());
        }
        for index in &indices {
            let node = record.placement[*index];
            for segment in &record.segments {
                let fragment = segment.fragments[*index];
                if !lost.contains(&Subject { node, fragment }) {
                    continue;
                }
                // The repair matters more than the record of why.
                if let Err(error) = self.inner.bank.unproven(fid, node, fragment).await {
                    tracing::warn!(%fid, %node, %error, "a failed proof was not recorded");
                }
            }
        }
        match repair::repair(&Arc::clone(&self.inner), fid, &indices).await {
            Ok(_) => {
                for index in indices {
                    let node = record.placement[index];
                    report.repaired.push((fid, index as u8, node));
                    // What was watched there is watched at its new place once it is tagged again.
                    for segment in &record.segments {
                        let fragment = segment.fragments[index];
                        auditor.forget(Subject { node, fragment });
                    }
                }
            }
            Err(error) => report.unrepaired.push((fid, error.to_string())),
        }
        Ok(())
    }
}
