//! Services in containers of Docker or Podman, by their API.
