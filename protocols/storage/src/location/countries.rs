//! The countries there are.

use super::Country;

/// The name of all members of the European Union together. ISO 3166-1 reserves it, so no country can
/// get it.
pub(super) const EU: &str = "EU";

/// ISO 3166-1 alpha-2, officially assigned.
const ALL: &[u8] = b"ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZ\
CACCCDCFCGCHCICKCLCMCNCOCRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGN\
GPGQGRGSGTGUGWGYHKHMHNHRHTHUIDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULV\
LYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPT\
PWPYQARERORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUS\
UYUZVAVCVEVGVIVNVUWFWSYEYTZAZMZW";

/// The members of the European Union since 2020.
const MEMBERS: &[u8] = b"ATBEBGCYCZDEDKEEESFIFRGRHRHUIEITLTLULVMTNLPLPTROSESISK";

pub(super) fn exists(letters: [u8; 2]) -> bool {
    contains(ALL, letters)
}

/// Whether `name`, a country or the union, covers `country`.
pub(super) fn covers(name: &str, country: Country) -> bool {
    name.as_bytes() == country.0 || (name == EU && contains(MEMBERS, country.0))
}

fn contains(list: &[u8], letters: [u8; 2]) -> bool {
    list.as_chunks::<2>().0.contains(&letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_complete_and_in_order() {
        let (all, rest) = ALL.as_chunks::<2>();
        assert!(rest.is_empty() && all.is_sorted());
        assert_eq!(all.len(), 249);
        let (members, _) = MEMBERS.as_chunks::<2>();
        assert_eq!(members.len(), 27);
        assert!(members.iter().all(|member| exists(*member)));
    }
}
