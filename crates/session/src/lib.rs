//! The session language: what a service may be told, and what it must prove first.
