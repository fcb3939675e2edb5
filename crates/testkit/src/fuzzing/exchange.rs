//! Results of exchange keys.

use std::{collections::BTreeMap, sync::LazyLock};

use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, Material, Operation},
};
use keyward_license::{
    ids::Kid,
    key_exchange::{Decryptor, ExchangeError, Input, Output, Performer, Ring},
};

use super::world::draws;
use crate::vectors::{Vector, Verdict, exchange_results};

/// A result: which of the known keys made it, how long the pieces of a stream are, and the bytes. Of what is
/// authenticated the known result alone is accepted, and of a stream nothing comes out that was not sealed in its
/// place. In memory and in pieces are the same.
#[must_use]
pub fn exchange_result(bytes: &[u8]) -> bool {
    let [which, piece, result @ ..] = bytes else {
        return false;
    };
    let Some(known) = KNOWN.get(usize::from(*which)) else {
        return false;
    };
    let piece = usize::from(*piece).saturating_mul(41).saturating_add(1);
    if known.is_stream {
        return known.is_streamed(result, piece);
    }
    let input = Input {
        data: if known.is_verified() { &known.data } else { result },
        aad: &known.aad,
        signature: known.is_verified().then_some(result),
    };
    let taken = Performer::new(known.ring())
        .unwrap()
        .perform(&input, &mut draws(0));
    if !known.algorithm.is_authenticated() {
        let whole = taken.map(|output| match output {
            Output::Secret(clear) => clear.expose().to_vec(),
            Output::Result(_) | Output::Verified => unreachable!("nothing else is put out"),
        });
        assert_eq!(known.in_pieces(result, piece).1, whole);
        return whole.is_ok();
    }
    if taken.is_ok() {
        // (r, n-s) verifies as (r, s) does.
        let same = if known.algorithm == Algorithm::Esp256 {
            4 + 32
        } else {
            result.len()
        };
        assert_eq!(result.get(..same), known.result.get(..same));
        assert_eq!(result.len(), known.result.len());
    }
    taken.is_ok()
}

/// The valid results of `vectors/`.
pub(super) static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let all = exchange_results().into_iter();
    all.filter(|vector| vector.verdict == Verdict::Valid)
        .map(|vector| Known::new(&vector))
        .collect()
});

/// A result, and what its taker knows.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) algorithm: Algorithm,
    operation: Operation,
    version: u32,
    key: Vec<u8>,
    is_stream: bool,
    aad: Vec<u8>,
    data: Vec<u8>,
    pub(super) result: Vec<u8>,
}

impl Known {
    fn new(vector: &Vector) -> Self {
        let text = |map: &BTreeMap<String, String>, name: &str| map.get(name).cloned();
        let number = |name: &str| text(&vector.inputs, name).unwrap().parse::<i64>().unwrap();
        let bytes = |map, name| hex::decode(text(map, name).unwrap_or_default()).unwrap();
        let (signed, clear) = (bytes(&vector.inputs, "data"), bytes(&vector.learns, "data"));
        Self {
            name: vector.name.clone(),
            algorithm: Algorithm::from_number(number("algorithm")).unwrap(),
            operation: Operation::from_number(number("operation").unsigned_abs()).unwrap(),
            version: number("key-version").try_into().unwrap(),
            key: bytes(&vector.inputs, "exchange-key"),
            is_stream: text(&vector.inputs, "form").unwrap() == "stream",
            aad: bytes(&vector.inputs, "aad"),
            data: [signed, clear].concat(),
            result: hex::decode(&vector.message).unwrap(),
        }
    }

    fn is_verified(&self) -> bool {
        self.operation == Operation::Verify
    }

    fn ring(&self) -> Ring {
        let key = SecretBytes::new(self.key.clone());
        let material = Material::from_bytes(self.algorithm, self.operation, key).unwrap();
        Ring::new(Kid::new([0; 16]), None, vec![(self.version, material)]).unwrap()
    }

    fn is_streamed(&self, result: &[u8], piece: usize) -> bool {
        let (seen, whole) = self.in_pieces(result, piece);
        assert!(self.data.starts_with(&seen));
        if let Ok(whole) = &whole {
            assert_eq!((&whole[..], result), (&self.data[..], &self.result[..]));
        }
        whole.is_ok()
    }

    /// What comes out until the end or an error, and whether it is the whole.
    fn in_pieces(&self, result: &[u8], piece: usize) -> (Vec<u8>, Result<Vec<u8>, ExchangeError>) {
        let mut stream = Decryptor::new(self.ring()).unwrap().stream(&self.aad).unwrap();
        let mut seen = Vec::new();
        for piece in result.chunks(piece) {
            if let Err(error) = stream.update(piece, &mut seen) {
                return (seen, Err(error));
            }
        }
        let whole = stream.finish(&mut seen);
        let all = seen.clone();
        (seen, whole.map(|()| all))
    }
}
