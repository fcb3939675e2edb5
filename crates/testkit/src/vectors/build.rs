//! Parts of messages, right and wrong: map entries by hand, and COSE with any header.

use keyward_crypto::ecdsa::Signer;
use minicbor::{Decoder, Encoder, data::Tag};

/// An encoded map as its entries, each key and value in its encoding.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Takes an encoded map apart, lets `edit` change its entries, and puts it together in their order.
pub(super) fn edited(map: &[u8], edit: impl FnOnce(&mut Entries)) -> Vec<u8> {
    let mut decoder = Decoder::new(map);
    let pairs = decoder.map().unwrap().unwrap();
    let mut item = || {
        let start = decoder.position();
        decoder.skip().unwrap();
        map.get(start..decoder.position()).unwrap().to_vec()
    };
    let mut entries: Entries = (0..pairs).map(|_| (item(), item())).collect();
    edit(&mut entries);
    let mut encoder = Encoder::new(Vec::new());
    encoder.map(entries.len() as u64).unwrap();
    let mut bytes = encoder.into_writer();
    entries
        .iter()
        .for_each(|(key, value)| bytes.extend(key.iter().chain(value)));
    bytes
}

/// The map with one more entry, at its place in the order. `value` is encoded.
pub(super) fn with_entry(map: &[u8], key: u64, value: &[u8]) -> Vec<u8> {
    edited(map, |entries| {
        entries.push((uint(key), value.to_vec()));
        entries.sort();
    })
}

/// The map without the entry of `key`.
pub(super) fn without_entry(map: &[u8], key: u64) -> Vec<u8> {
    edited(map, |entries| entries.retain(|(name, _)| *name != uint(key)))
}

/// The map with another value, encoded, for `key`.
pub(super) fn with_value(map: &[u8], key: u64, value: &[u8]) -> Vec<u8> {
    with_entry(&without_entry(map, key), key, value)
}

/// An encoded unsigned integer.
pub(super) fn uint(value: u64) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

/// An encoded byte string.
pub(super) fn bytes(value: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    encoder.bytes(value).unwrap();
    encoder.into_writer()
}

/// An encoded array of encoded items.
pub(super) fn array(items: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    encoder.array(items.len() as u64).unwrap();
    let mut bytes = encoder.into_writer();
    items.iter().for_each(|item| bytes.extend(item));
    bytes
}

/// A COSE_Sign1 of any form, validly signed for what it is.
pub(super) struct Cose<'a> {
    /// The tag, if any.
    pub(super) tag: Option<u64>,
    /// `alg` in the protected header.
    pub(super) algorithm: i64,
    /// `typ` in the protected header.
    pub(super) typ: &'a str,
    /// Value of `x5chain` in the protected header, encoded.
    pub(super) chain: Option<Vec<u8>>,
    /// The unprotected header, encoded.
    pub(super) unprotected: Vec<u8>,
    /// External AAD.
    pub(super) context: &'a str,
    /// The payload.
    pub(super) payload: Vec<u8>,
    /// Who signs.
    pub(super) signer: &'a dyn Signer,
}

impl<'a> Cose<'a> {
    /// A message in the profile.
    pub(super) fn new(
        typ: &'a str,
        context: &'a str,
        items: &[Vec<u8>],
        chain: &[Vec<u8>],
        signer: &'a dyn Signer,
    ) -> Self {
        let items: Vec<_> = items.iter().map(|item| bytes(item)).collect();
        let chain = match chain {
            [] => None,
            [single] => Some(bytes(single)),
            several => Some(array(&several.iter().map(|der| bytes(der)).collect::<Vec<_>>())),
        };
        Self {
            tag: Some(18),
            algorithm: -7,
            typ,
            chain,
            unprotected: vec![0xa0],
            context,
            payload: array(&items),
            signer,
        }
    }

    /// Signs and encodes.
    pub(super) fn finish(&self) -> Vec<u8> {
        let protected = self.protected();
        let mut signed = Encoder::new(Vec::new());
        signed
            .array(4)
            .unwrap()
            .str("Signature1")
            .unwrap()
            .bytes(&protected)
            .unwrap();
        signed
            .bytes(self.context.as_bytes())
            .unwrap()
            .bytes(&self.payload)
            .unwrap();
        let signature = self.signer.sign(signed.writer()).unwrap();
        let mut message = Encoder::new(Vec::new());
        if let Some(tag) = self.tag {
            message.tag(Tag::new(tag)).unwrap();
        }
        let mut message = message.into_writer();
        message.extend(array(&[
            bytes(&protected),
            self.unprotected.clone(),
            bytes(&self.payload),
            bytes(&signature),
        ]));
        message
    }

    fn protected(&self) -> Vec<u8> {
        let mut header = Encoder::new(Vec::new());
        header.map(2 + u64::from(self.chain.is_some())).unwrap();
        header
            .u8(1)
            .unwrap()
            .i64(self.algorithm)
            .unwrap()
            .u8(16)
            .unwrap()
            .str(self.typ)
            .unwrap();
        let mut header = header.into_writer();
        if let Some(chain) = &self.chain {
            header.extend(uint(33));
            header.extend(chain);
        }
        header
    }
}
