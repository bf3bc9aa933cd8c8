//! TLS towards others: the HTTP clients' provider.

/// Gives the HTTP clients their provider, which they take from the process. Whoever installed one before
/// has the say.
pub fn provide() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
