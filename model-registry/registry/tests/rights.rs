//! Rights in models, against a chain in this process, or that of `AI_LINK_CHAIN_URL`.
#![allow(clippy::unwrap_used)]

#[path = "support/chain.rs"]
mod chain;

use ai_link_registry::{
    CallError, Grant, Levels, ModelRights, NewModel, Offer, Registry, RegistryClient, Royalty,
    Standing, Terms, Transfer, rights::Access,
};
use ai_link_wire::{
    Commitment, Fid, Identity, Level, ModelId, ModelName, ModelVersion, Planck, Purpose, Region,
    UnixMillis,
};

use chain::TestChain;

const RICH: Planck = Planck::ail(1_000);

fn party(name: &str) -> Identity {
    Identity::derive(b"rights tests", name)
}

struct Fixture {
    _chain: TestChain,
    registry: Registry,
    name: ModelName,
}

impl Fixture {
    /// A chain on which `owner` has published versions 1, 2 and 5 of a model.
    async fn start() -> Self {
        let parties = ["owner", "buyer", "author"].map(party);
        let (chain, registry) = TestChain::start(&parties, RICH).await;
        let fixture = Self {
            _chain: chain,
            registry,
            name: ModelName::new("digits").unwrap(),
        };
        for version in [1, 2, 5] {
            let model = NewModel {
                name: fixture.name.clone(),
                version: ModelVersion(version),
                commitment: Commitment([1; 32]),
                manifest: Fid([7; 32]),
                price_per_record: Planck(5_000),
                levels: Levels::from(Level::Mpc),
            };
            fixture.client("owner").publish_model(model).await.unwrap();
        }
        fixture
    }

    fn client(&self, name: &str) -> RegistryClient {
        RegistryClient::new(self.registry.clone(), party(name))
    }

    async fn owner(&self) -> ai_link_wire::AccountId {
        self.registry
            .model(&self.name)
            .await
            .unwrap()
            .unwrap()
            .owner
    }
}

fn soon() -> UnixMillis {
    UnixMillis(UnixMillis::now().0 + 600_000)
}

fn assert_fails<T: std::fmt::Debug>(result: Result<T, CallError>, error: &str) {
    let failure = result.unwrap_err();
    assert!(
        failure.is("Rights", error),
        "wanted {error}, got {failure:?}"
    );
}

#[tokio::test]
async fn a_model_is_sold() {
    let fixture = Fixture::start().await;
    let (owner, buyer, name) = (
        fixture.client("owner"),
        fixture.client("buyer"),
        &fixture.name,
    );
    assert_eq!(fixture.registry.offer(name).await.unwrap(), None);
    let offer = Offer {
        to: buyer.account(),
        price: Planck::ail(3),
        until: soon(),
    };
    owner.offer_model(name, offer).await.unwrap();
    assert_eq!(fixture.registry.offer(name).await.unwrap(), Some(offer));
    assert_fails(
        fixture
            .client("author")
            .accept_model(name, offer.price)
            .await,
        "NoOffer",
    );
    assert_fails(buyer.accept_model(name, Planck(0)).await, "OtherPrice");
    let before = fixture.registry.balance(owner.account()).await.unwrap();
    buyer.accept_model(name, offer.price).await.unwrap();
    assert_eq!(fixture.owner().await, buyer.account());
    let after = fixture.registry.balance(owner.account()).await.unwrap();
    // The price, and the deposit that is the buyer's now.
    let deposit = before.held;
    assert_eq!(after.free.0, before.free.0 + offer.price.0 + deposit.0);
    assert_eq!(after.held, Planck(0));
    assert_eq!(fixture.registry.offer(name).await.unwrap(), None);

    owner.offer_model(name, offer).await.unwrap_err();
    let back = Offer {
        to: owner.account(),
        price: Planck(0),
        ..offer
    };
    buyer.offer_model(name, back).await.unwrap();
    buyer.withdraw_offer(name).await.unwrap();
    assert_fails(owner.accept_model(name, Planck(0)).await, "NoOffer");
    buyer.offer_model(name, back).await.unwrap();
    owner.accept_model(name, Planck(0)).await.unwrap();
    let transfers = fixture.registry.transfers(name).await.unwrap();
    let moves: Vec<_> = transfers
        .iter()
        .map(|t: &Transfer| (t.from, t.to, t.price))
        .collect();
    let (a, b) = (owner.account(), buyer.account());
    assert_eq!(moves, [(a, b, Planck::ail(3)), (b, a, Planck(0))]);
    assert!(transfers[0].at < transfers[1].at);
}

#[tokio::test]
async fn what_an_owner_lays_down_is_read_back() {
    let fixture = Fixture::start().await;
    let (owner, name) = (fixture.client("owner"), &fixture.name);
    let registry = &fixture.registry;
    assert_eq!(registry.rights(name).await.unwrap(), ModelRights::default());
    assert!(registry.all_rights().await.unwrap().is_empty());

    let terms = Terms {
        access: Access::Granted,
        purpose: Purpose::NonCommercial,
        regions: ["eu-de", "eu-fr"].map(|r| Region::new(r).unwrap()).to_vec(),
        until: Some(soon()),
        licence: "CC-BY-NC-4.0".into(),
    };
    owner.set_terms(name, &terms).await.unwrap();
    let royalty = Royalty {
        account: party("author").account(),
        millionths: 125_000,
    };
    owner.set_royalties(name, &[royalty]).await.unwrap();
    let yanked = Some(Standing::Yanked);
    owner
        .set_standing(name, ModelVersion(5), yanked)
        .await
        .unwrap();
    let deprecated = Some(Standing::Deprecated);
    owner
        .set_standing(name, ModelVersion(1), deprecated)
        .await
        .unwrap();
    let dearer = Some(Planck(9_000));
    owner
        .set_level_price(name, Level::Sealed, dearer)
        .await
        .unwrap();

    let rights = registry.rights(name).await.unwrap();
    assert_eq!(
        rights,
        ModelRights {
            terms: terms.clone(),
            royalties: vec![royalty],
            standings: [
                (ModelVersion(1), Standing::Deprecated),
                (ModelVersion(5), Standing::Yanked)
            ]
            .into(),
            level_prices: [(Level::Sealed, Planck(9_000))].into(),
        }
    );
    let all = registry.all_rights().await.unwrap();
    assert_eq!(all, [(ModelId::of_name(name), rights.clone())].into());

    // The newest version was yanked: the one before it is meant, or the newest if all were.
    let model = registry.model(name).await.unwrap().unwrap();
    assert_eq!(
        registry.versions(name).await.unwrap(),
        [1, 2, 5].map(ModelVersion)
    );
    let current = registry.current_version(&model, &rights).await.unwrap();
    assert_eq!(current, ModelVersion(2));
    for version in [1, 2] {
        owner
            .set_standing(name, ModelVersion(version), yanked)
            .await
            .unwrap();
    }
    let rights = registry.rights(name).await.unwrap();
    let current = registry.current_version(&model, &rights).await.unwrap();
    assert_eq!(current, ModelVersion(5));
    owner
        .set_standing(name, ModelVersion(5), None)
        .await
        .unwrap();
    assert!(
        !registry
            .rights(name)
            .await
            .unwrap()
            .is_yanked(ModelVersion(5))
    );
    assert_fails(
        owner.set_standing(name, ModelVersion(4), None).await,
        "UnknownVersion",
    );
    assert_fails(
        fixture.client("buyer").set_terms(name, &terms).await,
        "NotOwner",
    );
}

#[tokio::test]
async fn grants_are_given_and_taken_back() {
    let fixture = Fixture::start().await;
    let (owner, name) = (fixture.client("owner"), &fixture.name);
    let registry = &fixture.registry;
    let buyer = party("buyer").account();
    assert_eq!(registry.grant(name, buyer).await.unwrap(), None);
    let grant = Grant {
        purpose: Purpose::NonCommercial,
        until: Some(soon()),
    };
    owner.grant_model(name, buyer, grant).await.unwrap();
    assert_eq!(registry.grant(name, buyer).await.unwrap(), Some(grant));
    assert_eq!(registry.grants(name).await.unwrap(), [(buyer, grant)]);
    assert_fails(
        fixture.client("author").revoke_grant(name, buyer).await,
        "NotOwner",
    );
    fixture
        .client("buyer")
        .revoke_grant(name, buyer)
        .await
        .unwrap();
    assert_eq!(registry.grant(name, buyer).await.unwrap(), None);
    assert_fails(owner.revoke_grant(name, buyer).await, "NoGrant");
}
