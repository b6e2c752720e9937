//! The operator's page: static files and the state as JSON.
//!
//! The page asks for the state every other second. However many windows are open, the core is asked once a second.

use std::sync::Arc;
use std::time::Duration;

use ai_link_observe::{Page, Pages};
use ai_link_wire::UnixMillis;
use ai_link_wire::node::Node;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Core, lock};

/// How long a state is served again.
const FRESH: Duration = Duration::from_millis(900);

const PAGE: &str = include_str!("../../dashboard/index.html");
const STYLE: &str = include_str!("../../dashboard/style.css");
const SCRIPT: &str = include_str!("../../dashboard/app.js");
const VIEWS: &str = include_str!("../../dashboard/views.js");
const MAP: &str = include_str!("../../dashboard/map.js");
const ICON: &str = include_str!("../../dashboard/icon.svg");

#[derive(Clone)]
pub(super) struct Dashboard {
    core: Core,
    node: Node,
    latest: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Dashboard {
    pub(super) fn new(core: Core, node: Node) -> Self {
        Self {
            core,
            node,
            latest: Arc::default(),
        }
    }

    async fn state(&self) -> Result<String, String> {
        let mut latest = self.latest.lock().await;
        if let Some((at, state)) = latest.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(state.clone());
        }
        let (core, links) = (self.core.clone(), self.node.links());
        let looking = tokio::task::spawn_blocking(move || {
            let state = lock(&core).state(&links, UnixMillis::now());
            let state = state.map_err(|_| "the ledger cannot be read; see the log".to_owned())?;
            serde_json::to_string(&state).map_err(|error| error.to_string())
        });
        let state = looking.await.map_err(|_| "it failed".to_owned())??;
        *latest = Some((Instant::now(), state.clone()));
        Ok(state)
    }
}

impl Pages for Dashboard {
    async fn get(&self, path: &str) -> Option<Page> {
        let text = |kind, text: &str| Page {
            kind,
            body: Ok(text.to_owned()),
        };
        const JS: &str = "text/javascript; charset=utf-8";
        Some(match path {
            "/" => text("text/html; charset=utf-8", PAGE),
            "/style.css" => text("text/css; charset=utf-8", STYLE),
            "/app.js" => text(JS, SCRIPT),
            "/views.js" => text(JS, VIEWS),
            "/map.js" => text(JS, MAP),
            "/icon.svg" => text("image/svg+xml", ICON),
            "/api/state" => Page {
                kind: "application/json",
                body: self.state().await,
            },
            _ => return None,
        })
    }
}
