#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const OWNER: AccountId = AccountId([1; 32]);
const CLIENT: AccountId = AccountId([2; 32]);
const NOW: UnixMillis = UnixMillis(1_000);

fn permit(terms: &Terms, grant: Option<Grant>, purpose: Purpose) -> Result<(), LicenceProblem> {
    terms.permit(OWNER, CLIENT, grant.as_ref(), purpose, NOW)
}

fn grant(purpose: Purpose, until: Option<u64>) -> Option<Grant> {
    let until = until.map(UnixMillis);
    Some(Grant { purpose, until })
}

#[test]
fn by_default_anyone_may_use_a_model_for_anything() {
    assert_eq!(permit(&Terms::default(), None, Purpose::Commercial), Ok(()));
}

#[test]
fn the_owner_may_always() {
    let terms = Terms {
        access: Access::Granted,
        purpose: Purpose::NonCommercial,
        until: Some(NOW),
        ..Terms::default()
    };
    assert_eq!(
        terms.permit(OWNER, OWNER, None, Purpose::Commercial, NOW),
        Ok(())
    );
}

#[test]
fn grants_count_until_their_end() {
    let terms = Terms {
        access: Access::Granted,
        ..Terms::default()
    };
    let ask = |grant| permit(&terms, grant, Purpose::Commercial);
    assert_eq!(
        ask(None),
        Err(LicenceProblem::NotGranted { client: CLIENT })
    );
    assert_eq!(ask(grant(Purpose::Commercial, Some(1_001))), Ok(()));
    assert_eq!(
        ask(grant(Purpose::Commercial, Some(1_000))),
        Err(LicenceProblem::GrantEnded { at: NOW })
    );
    assert_eq!(ask(grant(Purpose::Commercial, None)), Ok(()));
    let ended = Terms {
        until: Some(NOW),
        ..terms
    };
    assert_eq!(
        permit(
            &ended,
            grant(Purpose::Commercial, None),
            Purpose::Commercial
        ),
        Err(LicenceProblem::Ended { at: NOW })
    );
}

#[test]
fn a_grant_has_a_purpose_of_its_own() {
    use Purpose::{Commercial, NonCommercial};
    let free = Terms {
        purpose: NonCommercial,
        ..Terms::default()
    };
    let problem = Err(LicenceProblem::NonCommercialOnly);
    assert_eq!(permit(&free, None, NonCommercial), Ok(()));
    assert_eq!(permit(&free, None, Commercial), problem);
    assert_eq!(permit(&free, grant(Commercial, None), Commercial), Ok(()));
    // One that is over gives nothing.
    assert_eq!(
        permit(&free, grant(Commercial, Some(1)), Commercial),
        problem
    );
    // Where anyone may do anything, a grant takes nothing away; where grants are needed, it says what for.
    let any = Terms::default();
    assert!(!any.depends_on_grants() && free.depends_on_grants());
    assert_eq!(permit(&any, grant(NonCommercial, None), Commercial), Ok(()));
    let granted = Terms {
        access: Access::Granted,
        ..any
    };
    assert!(granted.depends_on_grants());
    let permit = |purpose| permit(&granted, grant(NonCommercial, None), purpose);
    assert_eq!(permit(Commercial), problem);
    assert_eq!(permit(NonCommercial), Ok(()));
}

#[test]
fn regions_are_those_that_both_permit() {
    let region = |text: &str| Region::new(text).unwrap();
    let terms = |regions: &[&str]| Terms {
        regions: regions.iter().map(|text| region(text)).collect(),
        ..Terms::default()
    };
    assert_eq!(terms(&[]).regions(&[]), Ok(vec![]));
    assert_eq!(terms(&[]).regions(&[region("us")]), Ok(vec![region("us")]));
    assert_eq!(terms(&["eu-de"]).regions(&[]), Ok(vec![region("eu-de")]));
    let wanted = [region("us"), region("eu-de")];
    assert_eq!(
        terms(&["eu-de", "eu-fr"]).regions(&wanted),
        Ok(vec![region("eu-de")])
    );
    assert_eq!(
        terms(&["eu-fr"]).regions(&wanted),
        Err(LicenceProblem::NoCommonRegion)
    );
}

#[test]
fn a_level_may_have_a_price_of_its_own() {
    let rights = ModelRights {
        level_prices: [(Level::Fhe, Planck(50))].into(),
        ..ModelRights::default()
    };
    assert_eq!(rights.price(Level::Fhe, Planck(5)), Planck(50));
    assert_eq!(rights.price(Level::Mpc, Planck(5)), Planck(5));
}

proptest! {
    #[test]
    fn a_split_adds_up_and_gives_nobody_more_than_its_part(
        amount in prop_oneof![any::<u128>(), 0..10_000u128],
        parts in prop::collection::vec(1..=MILLION / 5, 0..=MAX_ROYALTIES),
    ) {
        let royalties = parts.iter().enumerate().map(|(i, millionths)| Royalty {
            account: AccountId([10 + i as u8; 32]),
            millionths: *millionths,
        });
        let rights = ModelRights { royalties: royalties.collect(), ..ModelRights::default() };
        let split = rights.split(OWNER, Planck(amount));
        let sum = split.iter().fold(0u128, |sum, (_, part)| sum + part.0);
        prop_assert_eq!(sum, amount);
        for (account, part) in split {
            let royalty = rights.royalties.iter().find(|royalty| royalty.account == account);
            match royalty {
                Some(royalty) => {
                    let fair = amount / u128::from(MILLION) * u128::from(royalty.millionths)
                        + amount % u128::from(MILLION) * u128::from(royalty.millionths)
                            / u128::from(MILLION);
                    prop_assert_eq!(part.0, fair);
                }
                None => prop_assert_eq!(account, OWNER),
            }
        }
    }
}
