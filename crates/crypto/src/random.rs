//! Random bytes from the operating system.

use zeroize::Zeroizing;

/// `N` random bytes. The operating system's generator does not fail once the machine has
/// booted; if it ever does, going on would mean predictable keys, so this panics.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// `N` random bytes that are wiped when dropped.
pub fn secret_bytes<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).expect("the operating system gives random bytes");
    bytes
}

/// `length` random bytes that are wiped when dropped.
pub fn secret_vec(length: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A bearer token of 256 random bits: `mse_` and 43 characters of base64url. The prefix lets
/// scanners for leaked secrets find it, and keeps a shell from taking it for an option.
pub fn token() -> Zeroizing<String> {
    use base64::Engine;
    let random = secret_bytes::<32>();
    let mut token = Zeroizing::new(String::with_capacity(48));
    token.push_str("mse_");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_string(*random, &mut token);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_can_stand_alone_on_a_command_line() {
        for _ in 0..200 {
            let token = token();
            assert!(token.starts_with("mse_") && token.len() == 47, "{}", *token);
        }
    }
}
