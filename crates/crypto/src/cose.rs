//! COSE_Sign1 (RFC 9052 §4.2) in Keyward's profile.
//!
//! Tagged 18. The protected header holds exactly `alg` = ES256, `typ` = the media type (RFC 9596) and,
//! when there is a certificate, `x5chain` (RFC 9360; leaf first, root left out, one certificate as a
//! bare byte string). The unprotected header is empty. The context string travels as external AAD, so
//! no message passes for another.
//!
//! The reader accepts the protected header only if it is byte for byte what the writer would have
//! written for the same values: that refuses duplicate, unsorted, unknown and non-shortest entries in
//! one comparison.

use coset::{
    CborSerializable, CoseSign1, Header, HeaderBuilder, Label, ProtectedHeader, RegisteredLabelWithPrivate,
    SignatureContext, TaggedCborSerializable, cbor::Value, iana, sig_structure_data,
};

use crate::{
    CryptoError,
    ecdsa::{PublicKey, Signer},
};

/// Longest certificate chain read: leaf and two intermediates are usual.
pub const MAX_CHAIN: usize = 5;

/// Signs `payload` and returns the tagged message.
///
/// `typ` is the media type, `chain` the DER certificates (leaf first; may be empty), `context` the
/// external AAD.
///
/// # Errors
/// What the signer reports.
pub fn sign1(
    typ: &str,
    chain: &[Vec<u8>],
    payload: &[u8],
    context: &[u8],
    signer: &dyn Signer,
) -> Result<Vec<u8>, CryptoError> {
    let protected = encoded(protected_bytes(typ, chain)?);
    let to_be_signed = to_be_signed(protected.clone(), context, payload);
    let message = CoseSign1 {
        protected,
        unprotected: Header::default(),
        payload: Some(payload.to_vec()),
        signature: signer.sign(&to_be_signed)?.to_vec(),
    };
    message
        .to_tagged_vec()
        .map_err(|_| CryptoError::Internal("COSE encoding"))
}

/// A parsed message whose signature has not been checked: type and chain can be read, because they
/// say which key to check it with; the payload cannot.
pub struct Sign1 {
    message: CoseSign1,
    typ: String,
    chain: Vec<Vec<u8>>,
}

impl Sign1 {
    /// Parses a tagged COSE_Sign1.
    ///
    /// # Errors
    /// [`CryptoError::MalformedCose`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CryptoError> {
        let mut message = CoseSign1::from_tagged_slice(bytes)
            .map_err(|_| CryptoError::MalformedCose("not a COSE_Sign1"))?;
        if !message.unprotected.is_empty() {
            return Err(CryptoError::MalformedCose("the unprotected header is not empty"));
        }
        if message.payload.is_none() {
            return Err(CryptoError::MalformedCose("no payload"));
        }
        let header = core::mem::take(&mut message.protected.header);
        if header.alg != Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::ES256)) {
            return Err(CryptoError::MalformedCose("alg is not ES256"));
        }
        let (typ, chain) = (read_typ(&header)?, read_chain(header)?);
        if message.protected.original_data != Some(protected_bytes(&typ, &chain)?) {
            return Err(CryptoError::MalformedCose(
                "the protected header is not in the profile's form",
            ));
        }
        Ok(Self { message, typ, chain })
    }

    /// The media type that the signer put into `typ`. Not authenticated yet.
    #[must_use]
    pub fn typ(&self) -> &str {
        &self.typ
    }

    /// The DER certificates of `x5chain`, leaf first; empty if there was none. Not authenticated yet.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The payload before verification, for the one message whose payload names its own key
    /// (enrolment: nothing certifies a device key yet) and for explaining a message to a person.
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        self.message.payload.as_deref().unwrap_or_default()
    }

    /// Verifies the signature with `key` and hands out the payload.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`].
    pub fn verify(self, context: &[u8], key: &PublicKey) -> Result<Vec<u8>, CryptoError> {
        let CoseSign1 {
            protected,
            payload,
            signature,
            ..
        } = self.message;
        let payload = payload.ok_or(CryptoError::MalformedCose("no payload"))?;
        key.verify(&to_be_signed(protected, context, &payload), &signature)?;
        Ok(payload)
    }
}

impl core::fmt::Debug for Sign1 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sign1")
            .field("typ", &self.typ)
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// What is signed (RFC 9052 §4.4).
fn to_be_signed(protected: ProtectedHeader, context: &[u8], payload: &[u8]) -> Vec<u8> {
    sig_structure_data(SignatureContext::CoseSign1, protected, None, context, payload)
}

/// A protected header as its bytes alone, which are signed and written as they are.
fn encoded(bytes: Vec<u8>) -> ProtectedHeader {
    ProtectedHeader {
        original_data: Some(bytes),
        header: Header::default(),
    }
}

fn protected_bytes(typ: &str, chain: &[Vec<u8>]) -> Result<Vec<u8>, CryptoError> {
    let header = protected_header(typ, chain).to_vec();
    header.map_err(|_| CryptoError::Internal("COSE encoding"))
}

fn protected_header(typ: &str, chain: &[Vec<u8>]) -> Header {
    let header = HeaderBuilder::new()
        .algorithm(iana::Algorithm::ES256)
        .value(TYP, Value::Text(typ.to_owned()));
    match chain {
        [] => header.build(),
        [single] => header.value(X5CHAIN, Value::Bytes(single.clone())).build(),
        several => {
            let array = several.iter().cloned().map(Value::Bytes).collect();
            header.value(X5CHAIN, Value::Array(array)).build()
        }
    }
}

fn read_typ(header: &Header) -> Result<String, CryptoError> {
    let mut entries = header.rest.iter();
    match entries.find(|(name, _)| *name == Label::Int(TYP)) {
        Some((_, Value::Text(typ))) => Ok(typ.clone()),
        _ => Err(CryptoError::MalformedCose("typ is not a media type")),
    }
}

fn read_chain(header: Header) -> Result<Vec<Vec<u8>>, CryptoError> {
    let not_certificates = CryptoError::MalformedCose("x5chain does not hold certificates");
    let mut entries = header.rest.into_iter();
    let chain = entries.find_map(|(name, value)| (name == Label::Int(X5CHAIN)).then_some(value));
    match chain {
        None => Ok(Vec::new()),
        Some(Value::Bytes(single)) => Ok(vec![single]),
        Some(Value::Array(several)) if (2..=MAX_CHAIN).contains(&several.len()) => several
            .into_iter()
            .map(|value| value.into_bytes().map_err(|_| not_certificates))
            .collect(),
        Some(_) => Err(not_certificates),
    }
}

/// `typ`, RFC 9596 §2.
const TYP: i64 = 16;
/// `x5chain`, RFC 9360 §2.
const X5CHAIN: i64 = 33;

#[cfg(test)]
mod tests {
    use coset::CoseSign1Builder;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::ecdsa::SigningKey;

    fn key() -> SigningKey {
        SigningKey::generate(&mut ChaCha20Rng::from_seed([4; 32]))
    }

    #[test]
    fn a_message_of_another_context_or_key_is_refused() {
        let key = key();
        let chain = [vec![1, 2], vec![3]];
        let signed = sign1("application/a+cose", &chain, b"payload", b"context a", &key).unwrap();
        let parsed = Sign1::parse(&signed).unwrap();
        assert_eq!((parsed.typ(), parsed.chain()), ("application/a+cose", &chain[..]));
        assert_eq!(
            parsed.verify(b"context b", key.public_key()),
            Err(CryptoError::BadSignature)
        );
        let other = SigningKey::generate(&mut ChaCha20Rng::from_seed([5; 32]));
        let parsed = Sign1::parse(&signed).unwrap();
        assert_eq!(
            parsed.verify(b"context a", other.public_key()),
            Err(CryptoError::BadSignature)
        );
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let key = key();
        let signed = sign1("application/a+cose", &[vec![9; 40]], b"payload", b"context", &key).unwrap();
        for position in 0..signed.len() * 8 {
            let mut altered = signed.clone();
            altered[position / 8] ^= 1 << (position % 8);
            let opened =
                Sign1::parse(&altered).and_then(|message| message.verify(b"context", key.public_key()));
            assert!(opened.is_err(), "bit {position}");
        }
        for end in 0..signed.len() {
            assert!(Sign1::parse(&signed[..end]).is_err());
        }
    }

    #[test]
    fn headers_outside_the_profile_are_refused() {
        let key = key();
        let sign = |header: Header, unprotected: Header| {
            CoseSign1Builder::new()
                .protected(header)
                .unprotected(unprotected)
                .payload(vec![1])
                .try_create_signature(b"", |tbs| key.sign(tbs).map(Vec::from))
                .unwrap()
                .build()
                .to_tagged_vec()
                .unwrap()
        };
        let good = || {
            HeaderBuilder::new()
                .algorithm(iana::Algorithm::ES256)
                .value(TYP, Value::Text("t".into()))
        };
        assert!(Sign1::parse(&sign(good().build(), Header::default())).is_ok());
        let refused = [
            (
                good().value(4711, Value::Null).build(),
                Header::default(),
                "an unknown header parameter",
            ),
            (
                good().build(),
                HeaderBuilder::new().key_id(vec![1]).build(),
                "an unprotected parameter",
            ),
            (
                HeaderBuilder::new().algorithm(iana::Algorithm::ES256).build(),
                Header::default(),
                "no typ",
            ),
            (
                HeaderBuilder::new()
                    .algorithm(iana::Algorithm::ES384)
                    .value(TYP, Value::Text("t".into()))
                    .build(),
                Header::default(),
                "another algorithm",
            ),
            (
                good()
                    .value(X5CHAIN, Value::Array(vec![Value::Bytes(vec![1])]))
                    .build(),
                Header::default(),
                "one certificate as an array",
            ),
        ];
        for (header, unprotected, what) in refused {
            assert!(Sign1::parse(&sign(header, unprotected)).is_err(), "{what}");
        }
        let untagged = CoseSign1Builder::new()
            .protected(good().build())
            .payload(vec![1])
            .build()
            .to_vec()
            .unwrap();
        assert!(Sign1::parse(&untagged).is_err());
    }
}
