use ai_link_wire::ids::Ss58Error;
use ai_link_wire::*;

use crate::identity::hex32;

/// The well-known development account of Substrate.
const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
const ALICE_HEX: &str = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";

#[test]
fn accounts_are_ss58() {
    let alice: AccountId = ALICE.parse().unwrap();
    assert_eq!(alice, AccountId(hex32(ALICE_HEX)));
    assert_eq!(alice.to_string(), ALICE);
    assert_eq!(ALICE_HEX.parse(), Ok(alice));
    assert_eq!(format!("0x{ALICE_HEX}").parse(), Ok(alice));
}

#[test]
fn damaged_accounts_are_refused() {
    let refused = |text: &str| match text.parse::<AccountId>() {
        Err(ParseIdError::Account(why)) => why,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(refused(&ALICE.replace("Grw", "Grx")), Ss58Error::Checksum);
    assert_eq!(refused(&ALICE.replace('F', "0")), Ss58Error::Base58);
    assert!(matches!(
        refused(&ALICE[..40]),
        Ss58Error::Length { length: 29 | 30 }
    ));
    assert_eq!(refused(&"1".repeat(200)), Ss58Error::Base58);
    // Alice on Polkadot: prefix 0.
    let polkadot = "15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5";
    assert_eq!(refused(polkadot), Ss58Error::Prefix { found: 0 });
}

#[test]
fn hex_ids_print_and_parse() {
    let job = JobId([0xab; 16]);
    assert_eq!(job.to_string(), "ab".repeat(16));
    assert_eq!(job.to_string().parse(), Ok(job));
    assert_eq!(format!("{job:?}"), format!("JobId({job})"));
    assert!(matches!(
        "ab".parse::<JobId>(),
        Err(ParseIdError::Hex {
            digits: 32,
            length: 2,
            ..
        })
    ));
    assert!("zz".repeat(32).parse::<Fid>().is_err());
    assert_ne!(JobId::random().unwrap(), JobId::random().unwrap());
}

#[test]
fn model_ids_are_blake2b_256_of_the_name() {
    let name = ModelName::new("digits-cnn").unwrap();
    let expected = "6e819a793ee680f25557b0b845823541b60916f8c4038bc8dfca65a6ccce4a72";
    assert_eq!(ModelId::of_name(&name).to_string(), expected);
}

#[test]
fn names_have_bounds_and_an_alphabet() {
    for good in ["abc", "a.b_c-9", &"x".repeat(63)] {
        assert_eq!(ModelName::new(good).unwrap().as_str(), good);
    }
    assert!(matches!(
        ModelName::new("ab"),
        Err(NameError::Length { length: 2, .. })
    ));
    assert!(matches!(
        ModelName::new("x".repeat(64)),
        Err(NameError::Length { length: 64, .. })
    ));
    for (bad, at) in [("abC", 2), ("a/b", 1), ("añb", 1), ("abc\0", 3)] {
        let error = ModelName::new(bad).unwrap_err();
        assert!(
            matches!(error, NameError::Character { at: found, .. } if found == at),
            "{error:?}"
        );
    }
    assert!(Region::new("eu-de").is_ok() && Region::new("eu_de").is_err());
}

#[test]
fn money_is_checked() {
    assert_eq!("1.25 AIL".parse(), Ok(Planck(1_250_000_000_000)));
    assert_eq!(Planck(1_250_000_000_000).to_string(), "1.25 AIL");
    assert_eq!(Planck(1).to_string(), "0.000000000001 AIL");
    assert_eq!(Planck::ail(3), Planck(3_000_000_000_000));
    for bad in ["", "AIL", ". AIL", "1. AIL", "-1", "1e3", "1,5 AIL", "+1"] {
        assert!(
            matches!(bad.parse::<Planck>(), Err(AmountError::Malformed { .. })),
            "{bad}"
        );
    }
    assert_eq!(
        "0.0000000000001 AIL".parse::<Planck>(),
        Err(AmountError::TooFine { digits: 13 })
    );
    assert_eq!(
        format!("{}0", u128::MAX).parse::<Planck>(),
        Err(AmountError::TooLarge)
    );
    assert_eq!(
        format!("{} AIL", u128::MAX).parse::<Planck>(),
        Err(AmountError::TooLarge)
    );
    assert_eq!(Planck(u128::MAX).checked_add(Planck(1)), None);
    assert_eq!(Planck(1).checked_sub(Planck(2)), None);
    assert_eq!(Planck(u128::MAX).checked_mul(2), None);
    assert_eq!(Planck::checked_sum([Planck(1), Planck(2)]), Some(Planck(3)));
    assert_eq!(Planck::checked_sum([Planck(u128::MAX), Planck(1)]), None);
}

#[test]
fn sizes_are_numbers_or_texts_with_a_unit() {
    for (text, bytes) in [
        ("2 GiB", 2 << 30),
        ("512MiB", 512 << 20),
        (" 1 KiB ", 1024),
        ("3 TiB", 3 << 40),
        ("7 B", 7),
        ("9", 9),
    ] {
        assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap(), Bytes(bytes));
    }
    assert_eq!(serde_json::from_str::<Bytes>("12").unwrap(), Bytes(12));
    assert_eq!(serde_json::to_string(&Bytes(12)).unwrap(), "12");
    for bad in ["", "GiB", "-1", "1.5 GiB", "2 GB", "16777216 TiB", "1e3"] {
        assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        let json = serde_json::to_string(bad).unwrap();
        assert!(serde_json::from_str::<Bytes>(&json).is_err(), "{bad}");
    }
    // In binary it stays a number.
    let bytes = encode(&Bytes(300), Limit::RECORD).unwrap();
    assert_eq!(bytes, encode(&300_u64, Limit::RECORD).unwrap());
    assert_eq!(decode::<Bytes>(&bytes, Limit::RECORD).unwrap(), Bytes(300));
}
