//! Encrypted volumes: directories that the host stores and cannot read, change or roll back unnoticed.
