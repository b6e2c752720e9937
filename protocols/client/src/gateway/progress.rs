//! How far a request is: `GET /v2/progress/{id}`, with the `id` that the request has in its body.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ai_link_wire::Progress;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Gateway;

/// Bytes of an id that is kept track of.
const MAX_ID: usize = 128;

type Steps = Option<Progress>;

/// Requests that are being worked on. As many as the gateway works on at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<HashMap<String, watch::Receiver<Steps>>>>);

/// A request that tells how far it is. Dropped when it is over.
#[derive(Debug)]
pub(super) struct Watched {
    sender: watch::Sender<Steps>,
    /// Where it is listed, and as what.
    listed: Option<(Board, String)>,
}

impl Watched {
    /// Lists a request by its id. One without an id, with a long one, or with that of another request that is being
    /// worked on, is not listed.
    pub(super) fn begin(board: &Board, id: Option<&str>) -> Self {
        let (sender, receiver) = watch::channel(None);
        let listed = id.filter(|id| id.len() <= MAX_ID).and_then(|id| {
            let mut requests = board.0.lock().unwrap_or_else(PoisonError::into_inner);
            if requests.contains_key(id) {
                return None;
            }
            requests.insert(id.to_owned(), receiver);
            Some((board.clone(), id.to_owned()))
        });
        Self { sender, listed }
    }

    pub(super) fn sender(&self) -> &watch::Sender<Steps> {
        &self.sender
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some((board, id)) = self.listed.take() {
            let mut requests = board.0.lock().unwrap_or_else(PoisonError::into_inner);
            requests.remove(&id);
        }
    }
}

pub(super) async fn progress(
    State(gateway): State<Gateway>,
    Path(id): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let requests = gateway.progress.0.lock();
    let requests = requests.unwrap_or_else(PoisonError::into_inner);
    let steps = *requests.get(&id).ok_or(StatusCode::NOT_FOUND)?.borrow();
    let Progress { done, total } = steps.unwrap_or(Progress { done: 0, total: 0 });
    Ok(Json(json!({ "done": done, "total": total })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_listed_while_it_is_worked_on() {
        let board = Board::default();
        let listed = |board: &Board| board.0.lock().map_or(0, |requests| requests.len());
        let first = Watched::begin(&board, Some("a"));
        let same = Watched::begin(&board, Some("a"));
        let others = [
            Watched::begin(&board, None),
            Watched::begin(&board, Some(&"x".repeat(MAX_ID + 1))),
        ];
        assert_eq!(listed(&board), 1);
        drop((same, others));
        assert_eq!(listed(&board), 1, "it belongs to the first one");
        first
            .sender()
            .send_replace(Some(Progress { done: 1, total: 2 }));
        drop(first);
        assert_eq!(listed(&board), 0);
    }
}
