//! The packet path without ports: frames in, verdicts, frames and counters out.

mod connections;
#[path = "../support/corpus.rs"]
mod corpus;
mod dsr;
mod encap;
mod fragments;
mod hold;
mod icmp;
mod link;
mod local;
mod malformed;
mod neighbors;
mod path_errors;
mod path_mtu;
mod ports;
mod properties;
mod seeds;
mod services;
mod shares;
mod support;
mod swap;
mod tunnels;
mod untracked;
