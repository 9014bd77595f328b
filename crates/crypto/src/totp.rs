//! One-time passwords by time: TOTP (RFC 6238) with HMAC-SHA-1, six digits, steps of 30 seconds, as
//! every authenticator app makes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A step of time.
pub const STEP: Duration = Duration::from_secs(30);
/// The least that a shared secret must have: 128 bits.
pub const MIN_SECRET: usize = 16;

/// The number of a step of time since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeStep(pub u64);

impl TimeStep {
    /// The step in which `now` lies.
    pub fn at(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs() / STEP.as_secs())
    }
}

/// A secret that a device shares with who asks for passwords. Wiped when dropped; it has no
/// `Debug`.
pub struct SharedSecret(Zeroizing<Vec<u8>>);

impl SharedSecret {
    /// The secret of these bytes.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, WeakSecret> {
        if bytes.len() < MIN_SECRET {
            return Err(WeakSecret { size: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// The step of which `password` is the password: the one of `now`, or the one before or after
    /// it, since clocks differ. The caller has to take each step only once.
    pub fn step_of(&self, password: &str, now: SystemTime) -> Option<TimeStep> {
        let TimeStep(current) = TimeStep::at(now);
        let steps = [current, current.saturating_sub(1), current + 1];
        // All are compared, whichever fits.
        steps.into_iter().map(TimeStep).fold(None, |found, step| {
            let expected = self.password(step);
            let fits: bool = expected.as_bytes().ct_eq(password.as_bytes()).into();
            if fits { Some(step) } else { found }
        })
    }

    /// The password of a step: six digits.
    pub fn password(&self, step: TimeStep) -> Zeroizing<String> {
        let key = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.0.to_be_bytes());
        let tag = tag.as_ref();
        // RFC 4226 §5.3: the last byte says where the number is taken from.
        let at = usize::from(tag[tag.len() - 1] & 0x0f);
        let mut number = [0; 4];
        number.copy_from_slice(&tag[at..at + 4]);
        let number = u32::from_be_bytes(number) & 0x7fff_ffff;
        Zeroizing::new(format!("{:06}", number % 1_000_000))
    }
}

/// A secret that can be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shared secret of a one-time password has `{size}` bytes; {MIN_SECRET} are the least")]
pub struct WeakSecret {
    /// Bytes.
    pub size: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SharedSecret {
        SharedSecret::from_bytes(Zeroizing::new(b"12345678901234567890".to_vec())).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// RFC 6238, appendix B, the last six of its eight digits.
    #[test]
    fn passwords_are_those_of_the_rfc() {
        for (seconds, password) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = TimeStep::at(at(seconds));
            assert_eq!(secret().password(step).as_str(), password);
            assert_eq!(secret().step_of(password, at(seconds)), Some(step));
        }
    }

    #[test]
    fn a_password_is_taken_one_step_early_or_late_and_its_step_is_named() {
        let step = TimeStep(1000);
        let password = secret().password(step);
        let time = |step: u64| at(step * 30 + 15);
        for near in [999, 1000, 1001] {
            assert_eq!(secret().step_of(&password, time(near)), Some(step));
        }
        for far in [997, 998, 1002, 1003] {
            assert_eq!(secret().step_of(&password, time(far)), None);
        }
        for wrong in ["", "00000", "0000000", &password[..5]] {
            assert_eq!(secret().step_of(wrong, time(1000)), None);
        }
    }

    #[test]
    fn short_secrets_are_refused() {
        let short = SharedSecret::from_bytes(Zeroizing::new(vec![1; 15]));
        assert_eq!(short.err(), Some(WeakSecret { size: 15 }));
    }
}
