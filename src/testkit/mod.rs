//! Test support: a packet builder and simulated rails.
