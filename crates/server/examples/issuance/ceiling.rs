//! The cryptography of one license over HTTP, and nothing else: no parsing, no rules, no database.
//!
//! What is done is counted from the protocol, for a device whose chain was verified before:
//!
//! ```text
//!  open the request (HPKE) ─► verify its signature ─► derive content key and proof key
//!      ─► seal them (HPKE) ─► sign the license ─► sign the response ─► seal it (AES-256-GCM)
//! ```
//! Messages have the lengths of real ones, which the request states.

use std::{io::Read, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use getrandom::SysRng;
use keyward_crypto::{
    CryptoError, aead,
    ecdsa::{SIGNATURE_LEN, Signer, SigningKey},
    hpke::{self, KeyPair, Suite},
    kdf::{hkdf_sha256, hmac_sha256},
    seed::LicenseKeySeed,
};
use keyward_license::{codec::Wire, envelope::SealedRequest, ids::Digest};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use rand_core::UnwrapErr;
use tokio::net::TcpListener;

use crate::{Outcome, devices::Lengths};

const CONTEXT: &str = "keyward/1 license-request";
/// A content key and a proof key in CBOR.
const KEYS_LEN: usize = 56;

/// Both sides' keys, the same in every process.
pub(crate) struct Keys {
    receiver: Vec<KeyPair>,
    server: SigningKey,
    device: SigningKey,
    device_sealing: Vec<KeyPair>,
    seed: LicenseKeySeed,
}

impl Keys {
    pub(crate) fn fixed() -> Outcome<Self> {
        let rng = &mut ChaCha20Rng::from_seed([7; 32]);
        let pairs = |rng: &mut ChaCha20Rng| Suite::ALL.map(|suite| KeyPair::generate(suite, rng)).into();
        Ok(Self {
            receiver: pairs(rng),
            server: SigningKey::generate(rng),
            device: SigningKey::generate(rng),
            device_sealing: pairs(rng),
            seed: LicenseKeySeed::new(&[7; 32])?,
        })
    }

    /// A request that states `lengths` and is as long as a real one.
    pub(crate) fn request(&self, suite: Suite, lengths: Lengths) -> Outcome<Bytes> {
        // The lengths and the signature are part of what is sealed.
        let message = vec![0x5a; lengths.request.saturating_sub(8 + SIGNATURE_LEN + 16)];
        let mut clear = Vec::new();
        for length in [lengths.license, lengths.response] {
            clear.extend_from_slice(&u32::try_from(length)?.to_be_bytes());
        }
        clear.extend_from_slice(&self.device.sign(&message)?);
        clear.extend_from_slice(&message);
        let public_key = pair(&self.receiver, suite)?.public_key();
        let recipient = Digest::new([0; 32]);
        let sealed = SealedRequest::seal(CONTEXT, suite, recipient, public_key, &clear, &mut rng())?;
        Ok(sealed.encode().into())
    }

    fn answer(&self, body: &[u8]) -> Outcome<Vec<u8>> {
        let request = SealedRequest::decode(body)?;
        let suite = Suite::from_number(request.suite).ok_or("a suite of no number")?;
        let clear = request.open(CONTEXT, &self.receiver)?;
        let (lengths, signed) = clear.expose().split_first_chunk::<8>().ok_or("cut off")?;
        let [a, b, c, d, lengths @ ..] = *lengths;
        let (license, response) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(lengths));
        let (signature, message) = signed.split_at_checked(SIGNATURE_LEN).ok_or("cut off")?;
        self.device.public_key().verify(message, signature)?;

        let kid = [0x11; 16];
        let mut keys = self.seed.derive(&kid).expose().to_vec();
        keys.extend_from_slice(&hmac_sha256(&kid, &[&kid])?);
        keys.resize(KEYS_LEN, 0);
        let device = pair(&self.device_sealing, suite)?.public_key();
        let sealed = hpke::seal(suite, device, CONTEXT.as_bytes(), &keys, &mut rng())?;

        let license = self.signed(&sealed.ciphertext, license)?;
        let response = self.signed(&license, response)?;
        let key = hkdf_sha256(&kid, &kid, CONTEXT.as_bytes())?;
        Ok(aead::seal(&key, CONTEXT.as_bytes(), &response, &mut rng())?)
    }

    /// A message of this length with a signature of the license server.
    fn signed(&self, content: &[u8], length: u32) -> Outcome<Vec<u8>> {
        let mut message = content.to_vec();
        message.resize(length.try_into()?, 0);
        let signature = self.server.sign(&message)?;
        message.extend_from_slice(&signature);
        Ok(message)
    }
}

/// Serves until standard input ends.
pub(crate) async fn serve() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/crypto", post(answer))
        .layer(DefaultBodyLimit::max(1 << 20))
        .with_state(Arc::new(Keys::fixed()?));
    crate::load::say(&format!("http://{address}/crypto"))?;
    let input = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        ended = input => drop(ended?),
    }
    Ok(())
}

async fn answer(State(keys): State<Arc<Keys>>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    keys.answer(&body).map_err(|_| StatusCode::BAD_REQUEST)
}

fn pair(pairs: &[KeyPair], suite: Suite) -> Result<&KeyPair, CryptoError> {
    let found = pairs.iter().find(|pair| pair.suite() == suite);
    found.ok_or(CryptoError::Internal("a suite without keys"))
}

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
