//! Who vouches for an image: signatures that cosign makes and checks as well.
