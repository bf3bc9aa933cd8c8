//! What shows a running server that its operator asks: a token that only whoever can read the database
//! can make.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::config::limits;
use crate::error::Error;

const AUDIENCE: &str = "cairn operator";

/// Makes and verifies an operator's tokens, by a secret of the database that serves nothing else.
pub struct Operator {
    keys: (EncodingKey, DecodingKey),
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// Seconds since 1970.
    exp: u64,
}

impl Operator {
    pub fn new(secret: &[u8]) -> Operator {
        Operator { keys: (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret)) }
    }

    /// A token for one question, which is asked at once.
    pub fn sign(&self) -> Result<String, Error> {
        let exp = jsonwebtoken::get_current_timestamp() + limits::OPERATOR_TOKEN.as_secs();
        let claims = Claims { aud: AUDIENCE.into(), exp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.keys.0)
            .map_err(Error::internal)
    }

    pub fn verify(&self, token: &str) -> bool {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        jsonwebtoken::decode::<Claims>(token, &self.keys.1, &validation).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::auth::{Caller, Signer};

    #[test]
    fn only_its_own_unexpired_tokens_are_good() {
        let operator = Operator::new(&[7; 32]);
        let token = operator.sign().expect("signed");
        assert!(operator.verify(&token));
        assert!(!Operator::new(&[8; 32]).verify(&token));
        let signed = |aud: &str, exp: u64| {
            let claims = Claims { aud: aud.into(), exp };
            let header = Header::new(Algorithm::HS256);
            jsonwebtoken::encode(&header, &claims, &operator.keys.0).expect("signed")
        };
        let now = jsonwebtoken::get_current_timestamp();
        assert!(operator.verify(&signed(AUDIENCE, now + 10)));
        assert!(!operator.verify(&signed("another", now + 10)));
        // Of two machines' clocks one may be a minute ahead.
        assert!(!operator.verify(&signed(AUDIENCE, now - 70)));
        // Not even with the same secret is a device's token one.
        let caller = Caller { account: Uuid::from_u128(1), session: Uuid::from_u128(2) };
        let millis = now as i64 * 1000;
        let devices = Signer::new(&[7; 32]).sign(caller, millis, millis + 60_000).expect("signed");
        assert!(!operator.verify(&devices));
        assert_eq!(Signer::new(&[7; 32]).verify(&token), None);
    }
}
