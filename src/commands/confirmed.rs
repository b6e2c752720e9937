//! Stores that are not believed where the chain can be asked.

use ai_link_filebank::ActiveOnChain;
use ai_link_registry::Registry;
use ai_link_storage::HttpStore;
use ai_link_wire::AccountId;

use crate::dev::Network;
use crate::dev::layout::FilesKept;
use crate::output::Failure;

/// The store, for which what `owner` puts is stored when the chain says so, if that is where files are recorded.
pub(super) async fn confirmed(
    network: &Network,
    store: HttpStore,
    owner: AccountId,
) -> Result<HttpStore, Failure> {
    match network.files {
        FilesKept::InStore => Ok(store),
        FilesKept::OnChain => {
            let chain = Registry::connect(&network.chain).await;
            let chain = chain.map_err(Failure::failed)?;
            Ok(store.asking(ActiveOnChain::new(chain, owner)))
        }
    }
}
