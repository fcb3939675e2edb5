//! The same operations by the libraries alone, as an application would write them by hand: the key is expanded once,
//! nonces come from the operating system, results are in memory of their own.

use std::hint::black_box;

use aes::{
    Aes128, Aes256,
    cipher::{
        BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser,
        InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper, consts::U16,
    },
};
use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
        ParsedPublicKey,
    },
};
use cbc::cipher::block_padding::Pkcs7;
use ctr::{CtrCore, flavors::Ctr128BE};
use keyward_crypto::exchange::{Algorithm, ExchangeKey, Material, Operation};

use crate::{Call, Outcome};

const NONCE: usize = 12;
const BLOCK: usize = 16;

/// The operation of `material` on `data`, or on `result`, which is what the algorithm puts out.
pub(crate) fn call<'a>(
    material: &Material,
    key: &ExchangeKey,
    data: &'a [u8],
    result: &'a [u8],
) -> Outcome<Call<'a>> {
    let (bytes, operation) = (material.expose(), material.operation());
    match material.algorithm() {
        Algorithm::A128Gcm => gcm(UnboundKey::new(&AES_128_GCM, bytes)?, operation, data, result),
        Algorithm::A256Gcm => gcm(UnboundKey::new(&AES_256_GCM, bytes)?, operation, data, result),
        Algorithm::A128Cbc => cbc::<Aes128>(bytes, operation, data, result),
        Algorithm::A256Cbc => cbc::<Aes256>(bytes, operation, data, result),
        Algorithm::A128Ctr => ctr::<Aes128>(bytes, operation, data, result),
        Algorithm::A256Ctr => ctr::<Aes256>(bytes, operation, data, result),
        Algorithm::A128Kw => kw::<Aes128>(bytes, operation, data, result),
        Algorithm::A256Kw => kw::<Aes256>(bytes, operation, data, result),
        Algorithm::HmacSha256 => Ok(mac(
            hmac::Key::new(hmac::HMAC_SHA256, bytes),
            operation,
            data,
            result,
        )),
        Algorithm::HmacSha384 => Ok(mac(
            hmac::Key::new(hmac::HMAC_SHA384, bytes),
            operation,
            data,
            result,
        )),
        Algorithm::HmacSha512 => Ok(mac(
            hmac::Key::new(hmac::HMAC_SHA512, bytes),
            operation,
            data,
            result,
        )),
        Algorithm::Esp256 => esp256(material, key, data, result),
        Algorithm::Ed25519 => ed25519(material, data, result),
        other => Err(format!("{other} is not measured").into()),
    }
}

fn gcm<'a>(key: UnboundKey, operation: Operation, data: &'a [u8], result: &'a [u8]) -> Outcome<Call<'a>> {
    let key = LessSafeKey::new(key);
    if operation == Operation::Encrypt {
        return Ok(Box::new(move || {
            let (nonce, mut output) = begun::<NONCE>(data, BLOCK)?;
            let (_, body) = output.split_at_mut(NONCE);
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), body)?;
            output.extend_from_slice(tag.as_ref());
            black_box(output);
            Ok(())
        }));
    }
    Ok(Box::new(move || {
        let (nonce, body) = result.split_first_chunk::<NONCE>().ok_or("short")?;
        let mut body = body.to_vec();
        key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut body)?;
        black_box(body);
        Ok(())
    }))
}

fn cbc<'a, C>(key: &[u8], operation: Operation, data: &'a [u8], result: &'a [u8]) -> Outcome<Call<'a>>
where
    C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + 'a,
{
    let cipher = C::new_from_slice(key)?;
    if operation == Operation::Encrypt {
        return Ok(Box::new(move || {
            let (iv, mut output) = begun::<BLOCK>(data, BLOCK)?;
            output.resize(BLOCK + data.len() + BLOCK - data.len() % BLOCK, 0);
            let (_, body) = output.split_at_mut(BLOCK);
            let chain = cbc::Encryptor::inner_iv_init(&cipher, &iv.into());
            chain
                .encrypt_padded::<Pkcs7>(body, data.len())
                .map_err(|_| "CBC")?;
            black_box(output);
            Ok(())
        }));
    }
    Ok(Box::new(move || {
        let (iv, body) = result.split_first_chunk::<BLOCK>().ok_or("short")?;
        let mut body = body.to_vec();
        let chain = cbc::Decryptor::inner_iv_init(&cipher, iv.into());
        let len = chain.decrypt_padded::<Pkcs7>(&mut body).map_err(|_| "CBC")?.len();
        body.truncate(len);
        black_box(body);
        Ok(())
    }))
}

fn ctr<'a, C>(key: &[u8], operation: Operation, data: &'a [u8], result: &'a [u8]) -> Outcome<Call<'a>>
where
    C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + 'a,
{
    let cipher = C::new_from_slice(key)?;
    let apply = move |start: &[u8; BLOCK], body: &mut [u8]| {
        let core = CtrCore::<_, Ctr128BE>::inner_iv_init(&cipher, start.into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(body);
    };
    if operation == Operation::Encrypt {
        return Ok(Box::new(move || {
            let (start, mut output) = begun::<BLOCK>(data, 0)?;
            apply(&start, output.split_at_mut(BLOCK).1);
            black_box(output);
            Ok(())
        }));
    }
    Ok(Box::new(move || {
        let (start, body) = result.split_first_chunk::<BLOCK>().ok_or("short")?;
        let mut body = body.to_vec();
        apply(start, &mut body);
        black_box(body);
        Ok(())
    }))
}

fn kw<'a, C>(key: &[u8], operation: Operation, data: &'a [u8], result: &'a [u8]) -> Outcome<Call<'a>>
where
    C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + 'a,
{
    let wrapping = aes_kw::AesKw::<C>::new_from_slice(key)?;
    let wraps = operation == Operation::Wrap;
    Ok(Box::new(move || {
        let mut output = if wraps {
            vec![0; data.len() + 8]
        } else {
            vec![0; data.len()]
        };
        if wraps {
            wrapping.wrap_key(data, &mut output).map_err(|_| "KW")?;
        } else {
            wrapping.unwrap_key(result, &mut output).map_err(|_| "KW")?;
        }
        black_box(output);
        Ok(())
    }))
}

fn mac<'a>(key: hmac::Key, operation: Operation, data: &'a [u8], result: &'a [u8]) -> Call<'a> {
    if operation == Operation::Sign {
        return Box::new(move || {
            black_box(hmac::sign(&key, data).as_ref().to_vec());
            Ok(())
        });
    }
    Box::new(move || Ok(hmac::verify(&key, data, result)?))
}

fn esp256<'a>(material: &Material, key: &ExchangeKey, data: &'a [u8], result: &'a [u8]) -> Outcome<Call<'a>> {
    let public = key.material(Operation::Verify)?;
    if material.operation() == Operation::Verify {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public.expose())?;
        return Ok(Box::new(move || Ok(key.verify_sig(data, result)?)));
    }
    let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = EcdsaKeyPair::from_private_key_and_public_key(signing, material.expose(), public.expose())?;
    let rng = SystemRandom::new();
    Ok(Box::new(move || {
        black_box(key.sign(&rng, data)?.as_ref().to_vec());
        Ok(())
    }))
}

fn ed25519<'a>(material: &Material, data: &'a [u8], result: &'a [u8]) -> Outcome<Call<'a>> {
    if material.operation() == Operation::Verify {
        let key = ParsedPublicKey::new(&ED25519, material.expose())?;
        return Ok(Box::new(move || Ok(key.verify_sig(data, result)?)));
    }
    let key = Ed25519KeyPair::from_seed_unchecked(material.expose())?;
    Ok(Box::new(move || {
        black_box(key.try_sign(data)?.as_ref().to_vec());
        Ok(())
    }))
}

/// A fresh nonce, and the output with it and the plaintext, and room for `more` bytes.
fn begun<const N: usize>(data: &[u8], more: usize) -> Outcome<([u8; N], Vec<u8>)> {
    let mut nonce = [0; N];
    getrandom::fill(&mut nonce)?;
    let mut output = Vec::with_capacity(N + data.len() + more);
    output.extend_from_slice(&nonce);
    output.extend_from_slice(data);
    Ok((nonce, output))
}
