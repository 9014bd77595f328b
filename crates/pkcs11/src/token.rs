//! A token with a login.

use std::marker::PhantomData;

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use mse_crypto::Zeroizing;

use crate::error::{TokenError, of_login};
use crate::signer::Signer;

/// The longest value that is taken from a token.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// A token that this program is logged in to, until it is dropped.
pub struct OpenToken<'m> {
    pub(crate) session: Session,
    is_logged_in: bool,
    /// The module ends all sessions when it is dropped.
    module: PhantomData<&'m Pkcs11>,
}

impl<'m> OpenToken<'m> {
    pub(crate) fn open(
        context: &'m Pkcs11,
        slot: Slot,
        label: &str,
        pin: Option<&str>,
    ) -> Result<Self, TokenError> {
        let info = context.get_token_info(slot)?;
        if info.user_pin_locked() {
            return Err(TokenError::Locked(label.to_owned()));
        }
        if info.user_pin_final_try() {
            return Err(TokenError::LastTry(label.to_owned()));
        }
        let mut token = Self {
            session: context.open_ro_session(slot)?,
            is_logged_in: false,
            module: PhantomData,
        };
        let pin = match pin {
            Some(pin) => Some(AuthPin::new(pin.into())),
            None if info.protected_authentication_path() => None,
            None if !info.login_required() => return Ok(token),
            None => return Err(TokenError::PinMissing(label.to_owned())),
        };
        token
            .session
            .login(UserType::User, pin.as_ref())
            .map_err(|error| of_login(&error, label))?;
        token.is_logged_in = true;
        Ok(token)
    }

    /// The value of the secret key or data object of this label, of at most [`MAX_VALUE_BYTES`].
    pub fn value(&self, label: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let object = self.one_of(
            &[ObjectClass::SECRET_KEY, ObjectClass::DATA],
            label,
            "secret key or data object",
        )?;
        let value = self
            .attribute(object, AttributeType::Value)?
            .and_then(|attribute| match attribute {
                Attribute::Value(value) => Some(Zeroizing::new(value)),
                _ => None,
            })
            .ok_or_else(|| TokenError::NotExtractable(label.to_owned()))?;
        if (1..=MAX_VALUE_BYTES).contains(&value.len()) {
            Ok(value)
        } else {
            Err(TokenError::Size {
                label: label.to_owned(),
                bytes: value.len(),
            })
        }
    }

    /// The private key of this label.
    pub fn signer(&self, label: &str) -> Result<Signer<'_>, TokenError> {
        Signer::find(self, label)
    }

    /// The object of this label in one of some classes: there must be exactly one.
    pub(crate) fn one_of(
        &self,
        classes: &[ObjectClass],
        label: &str,
        what: &'static str,
    ) -> Result<ObjectHandle, TokenError> {
        let mut found = Vec::new();
        for class in classes {
            found.extend(self.session.find_objects(&[
                Attribute::Class(*class),
                Attribute::Label(label.as_bytes().to_vec()),
            ])?);
        }
        let label = label.to_owned();
        match found.as_slice() {
            [] => Err(TokenError::NoObject { what, label }),
            [object] => Ok(*object),
            _ => Err(TokenError::SeveralObjects { what, label }),
        }
    }

    /// An attribute of an object; None if it has none, or does not tell.
    pub(crate) fn attribute(
        &self,
        object: ObjectHandle,
        attribute: AttributeType,
    ) -> Result<Option<Attribute>, TokenError> {
        Ok(self.session.get_attributes(object, &[attribute])?.pop())
    }
}

impl Drop for OpenToken<'_> {
    fn drop(&mut self) {
        if self.is_logged_in {
            // Who opens the token next must show the PIN. Nothing can be done about a failure: the
            // session is closed right after, which logs out, too.
            let _ = self.session.logout();
        }
    }
}
