//! Several rails of several workers, without ports: fragments that find their owner, rails that help
//! out, and rails that see everything.

#[path = "../support/corpus.rs"]
mod corpus;
mod fragments;
mod history;
mod mirror;
mod network;
mod probes;
mod properties;
mod trombone;
