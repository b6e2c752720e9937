//! The key that the vectors were computed with.
#![allow(clippy::unwrap_used)]

use super::TaggingKey;

pub(crate) fn key() -> TaggingKey {
    let p = "cbae609968b54517cf0ab0336ae5b618b0d9b3c9fa5f7a97d18bd351019229ea7baaeee26fb4d1928487\
        2360c989ce9a33f205eace0b2258b6a26714a4106ff7df4c690a01e0148f036dc6c51a1f628efccf747d72a29f\
        92b35fe68b5810e6e2b027081df2f6de042856d2469f660649dc5ca71cf7ef4b78c6fa0211d2bb0993";
    let q = "eee4f1a4fd40207feacfc9289e6cc87db8f886efef85e4c62e7d6e0e686240601a8f866a4011e9a17e5b\
        e091989f98b427d7ed149846daf988244dcd5d7c736b7c21e789ff42eed80024fd7bb0f4316ccacf2b272c745c\
        8d4f0f9d36319920777df5cd35585763c77ab27810420ae7044056b0b2b03373ad74a1aca380ac9837";
    let bytes = [
        b"AILPDR2\x01",
        &hex::decode(p).unwrap()[..],
        &hex::decode(q).unwrap(),
        &[42; 32],
    ];
    TaggingKey::from_bytes(&bytes.concat()).unwrap()
}
