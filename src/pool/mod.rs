//! The desired state as types: services, backends, peers. Parse, do not validate.
