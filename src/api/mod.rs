//! HTTP on the control core: REST, `/metrics`, `/healthz`.
