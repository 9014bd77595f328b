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

/// A bearer token of 256 random bits as 43 characters of base64url.
pub fn token() -> Zeroizing<String> {
    use base64::Engine;
    Zeroizing::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(*secret_bytes::<32>()))
}
