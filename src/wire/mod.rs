//! Header views over bytes: one header per file, network-endian fields, no state, no I/O.
