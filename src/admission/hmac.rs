//! HMAC-SHA-256 (RFC 2104) by someone who has not the secret.
//!
//! An HMAC begins with two blocks that are made of the secret alone. SHA-256's states after them are enough to go on from:
//! they check and make every HMAC of that secret, and do not give it back. So a customer signs with the API key itself,
//! and the store has only these states and the key's hash.

use crate::store::JwtVerifier;
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

const BLOCK: usize = 64;
/// FIPS 180-4, 5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// What tells HMACs of this secret.
pub fn verifier_of(secret: &str) -> JwtVerifier {
    let mut key = [0; BLOCK];
    let secret = secret.as_bytes();
    if secret.len() > BLOCK {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret);
    }
    let state_after = |pad: u8| {
        let mut state = INITIAL;
        compress256(&mut state, &[key.map(|byte| byte ^ pad)]);
        bytes_of(state)
    };
    let mut verifier = [0; 64];
    verifier[..32].copy_from_slice(&state_after(0x36));
    verifier[32..].copy_from_slice(&state_after(0x5c));
    verifier
}

/// The HMAC of a message under the secret that the verifier is of.
pub fn hmac_by(verifier: &JwtVerifier, message: &[u8]) -> [u8; 32] {
    let (inner, outer) = verifier.split_at(32);
    let inner = go_on(state_of(inner), message);
    go_on(state_of(outer), &inner)
}

/// Hashes what follows a first block.
fn go_on(mut state: [u32; 8], message: &[u8]) -> [u8; 32] {
    let (whole, rest) = message.as_chunks::<BLOCK>();
    compress256(&mut state, whole);
    let bits = u64::try_from(BLOCK + message.len())
        .unwrap_or(u64::MAX)
        .wrapping_mul(8);
    let mut last = [[0; BLOCK]; 2];
    let flat = last.as_flattened_mut();
    flat[..rest.len()].copy_from_slice(rest);
    flat[rest.len()] = 0x80;
    let blocks = if rest.len() < BLOCK - 8 { 1 } else { 2 };
    flat[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, &last[..blocks]);
    bytes_of(state)
}

fn bytes_of(state: [u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (four, word) in bytes.chunks_exact_mut(4).zip(state) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

fn state_of(bytes: &[u8]) -> [u32; 8] {
    let mut state = [0; 8];
    for (word, four) in state.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*four);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HMAC as RFC 2104 writes it, by whoever has the secret.
    fn by_the_book(secret: &[u8], message: &[u8]) -> [u8; 32] {
        let mut key = [0; BLOCK];
        key[..secret.len()].copy_from_slice(secret);
        let inner = Sha256::new()
            .chain_update(key.map(|byte| byte ^ 0x36))
            .chain_update(message)
            .finalize();
        Sha256::new()
            .chain_update(key.map(|byte| byte ^ 0x5c))
            .chain_update(inner)
            .finalize()
            .into()
    }

    #[test]
    fn the_standards_own_case_holds() {
        let made = hmac_by(&verifier_of("Jefe"), b"what do ya want for nothing?");
        let hex: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
        // RFC 4231, 4.3.
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn messages_of_every_length_come_to_the_same_as_by_the_book() {
        let secret = format!("fb_{}", "k".repeat(43));
        let message: Vec<u8> = (0..200_u8).collect();
        for length in 0..message.len() {
            let expected = by_the_book(secret.as_bytes(), &message[..length]);
            assert_eq!(
                hmac_by(&verifier_of(&secret), &message[..length]),
                expected,
                "{length}"
            );
        }
    }
}
