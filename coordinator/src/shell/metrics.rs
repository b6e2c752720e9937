//! The coordinator's metrics: the core's tally, and how the node is connected.

use ai_link_observe::{Gauges, Metrics, label};
use ai_link_wire::UnixMillis;
use ai_link_wire::node::{self, Node};

use super::{Core, lock};

label! {
    /// How peers are reached.
    enum Path: "path" {
        Direct = "direct",
        Punched = "punched",
        Relayed = "relayed",
    }
}

pub(super) fn of(core: &Core, node: &Node) -> Metrics {
    let metrics = Metrics::new("coordinator", env!("CARGO_PKG_VERSION"));
    lock(core).tally().register(&metrics);
    let peers = Gauges::<Path>::default();
    metrics.gauges("peers", "Connected peers by path", &peers);
    let (core, node) = (core.clone(), node.clone());
    metrics.before_reading(move || {
        lock(&core).gauge(UnixMillis::now());
        let links = node.links();
        for (path, of) in [
            (Path::Direct, node::Path::Direct),
            (Path::Punched, node::Path::Punched),
            (Path::Relayed, node::Path::Relayed),
        ] {
            let count = links.iter().filter(|link| link.path == of).count();
            peers.set(path, count as u64);
        }
    });
    metrics
}
