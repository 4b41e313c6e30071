//! The one generator. It is always passed in; nothing in the crate draws from a global one.

use rand::SeedableRng;

/// ChaCha with 8 rounds: the same stream on every machine.
pub type Rng = rand_chacha::ChaCha8Rng;

/// An independent stream of the generator of `seed`; streams of different numbers do not overlap.
pub fn stream(seed: u64, stream: u64) -> Rng {
    let mut rng = Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// The key of a row of numbers: a function of its own numbers and the seed, so that what is drawn by it is the same in
/// any batch; rounded to f32, so that it is the same in either precision.
pub fn key(seed: u64, row: impl IntoIterator<Item = f32>) -> u64 {
    row.into_iter().fold(mix(seed), |key, value| mix(key ^ u64::from(value.to_bits())))
}

/// 53 bits of a word as a number in [0, 1).
pub fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}

/// Mixes a word thoroughly (the finaliser of SplitMix64; Steele, Lea & Flood 2014).
pub fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
