//! Tokens: JWTs signed with HS256 (RFC 7519).

use std::sync::Arc;

use entity::Millis;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Caller;
use crate::error::Error;

const ISSUER: &str = "cairn";

/// Signs and verifies tokens.
#[derive(Clone)]
pub struct Signer {
    keys: Arc<(EncodingKey, DecodingKey)>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The account.
    sub: Uuid,
    /// The session.
    sid: Uuid,
    /// Seconds since 1970.
    iat: i64,
    exp: i64,
}

impl Signer {
    pub fn new(secret: &[u8]) -> Signer {
        let keys = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Signer { keys: Arc::new(keys) }
    }

    pub fn sign(&self, caller: Caller, now: Millis, expires_at: Millis) -> Result<String, Error> {
        let claims = Claims {
            iss: ISSUER.into(),
            sub: caller.account,
            sid: caller.session,
            iat: now / 1000,
            exp: expires_at / 1000,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.keys.0)
            .map_err(Error::internal)
    }

    /// Who the token names, if it is ours and has not expired.
    pub fn verify(&self, token: &str) -> Option<Caller> {
        self.read(token).map(|(caller, _)| caller)
    }

    /// The same, with the second since 1970 from which on it is refused.
    pub fn read(&self, token: &str) -> Option<(Caller, i64)> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        let claims = jsonwebtoken::decode::<Claims>(token, &self.keys.1, &validation).ok()?.claims;
        let refused_from = claims.exp.saturating_add(validation.leeway as i64 + 1);
        Some((Caller { account: claims.sub, session: claims.sid }, refused_from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_unexpired_tokens_are_good() {
        let caller = Caller { account: Uuid::from_u128(1), session: Uuid::from_u128(2) };
        let signer = Signer::new(&[7; 32]);
        let now = chrono::Utc::now().timestamp_millis();
        let token = signer.sign(caller, now, now + 3_600_000).expect("signed");
        assert_eq!(signer.verify(&token), Some(caller));
        assert_eq!(Signer::new(&[8; 32]).verify(&token), None);
        let old = signer.sign(caller, now - 7_200_000, now - 3_600_000).expect("signed");
        assert_eq!(signer.verify(&old), None);
        // {"alg":"none"}
        let payload = token.split('.').nth(1).expect("a payload");
        assert_eq!(signer.verify(&format!("eyJhbGciOiJub25lIn0.{payload}.")), None);
        assert_eq!(signer.verify("garbage"), None);
    }
}
