//! Embedded license stores: their form alone. The licenses in them are judged as licenses are.

use std::collections::BTreeMap;

use keyward_crypto::kdf::sha256;
use keyward_license::{
    codec::{Bytes, Wire},
    ids::Kid,
};

use super::{Expect, MessageType, Vector, World, licenses, vector};

pub(super) fn add(world: &World, all: &mut Vec<Vector>) {
    let name = "embedded-store-valid-two";
    let chain = licenses::ChainFor::new(world, Kid::new([0x0d; 16]), name);
    let simple = licenses::license_for(world, Kid::new([0x0f; 16]), &world.device, name);
    let two = [chain.leaf, simple];
    let mut cases = Cases(all);
    cases.accept(
        "embedded-store-valid-none",
        "content without room for licenses",
        &[],
        &[],
    );
    cases.accept(
        "embedded-store-valid-empty",
        "a store that was never filled",
        &[0; 64],
        &[],
    );
    cases.accept(
        name,
        "a leaf license and a simple one, then zeros",
        &store(&two, 37),
        &two,
    );
    cases.accept(
        "embedded-store-valid-full",
        "a store that is full to its last byte",
        &store(&two, 0),
        &two,
    );
    cases.accept(
        "embedded-store-valid-emptied",
        "an array without licenses",
        &[0, 0, 0, 1, 0x80, 0, 0],
        &[],
    );
    let many = vec![vec![1]; 64];
    cases.accept(
        "embedded-store-valid-64",
        "64 licenses, whatever they are",
        &store(&many, 1),
        &many,
    );
    cases.refused(&two);
}

struct Cases<'a>(&'a mut Vec<Vector>);

impl Cases<'_> {
    fn refused(&mut self, two: &[Vec<u8>]) {
        const FORM: &str = "an embedded license store is not a length, licenses and zeros";
        let right = store(two, 16);
        self.refuse(
            "embedded-store-too-short",
            "three bytes that are not zero",
            FORM,
            &[1, 2, 3],
        );
        let mut long = right.clone();
        long.truncate(right.len() - 17);
        self.refuse(
            "embedded-store-cut",
            "the licenses go beyond the end",
            FORM,
            &long,
        );
        let mut rest = right.clone();
        *rest.last_mut().unwrap() = 1;
        self.refuse(
            "embedded-store-rest",
            "something stands behind the licenses",
            FORM,
            &rest,
        );
        let mut early = right.clone();
        let shorter = u32::try_from(right.len() - 4 - 16 - 1).unwrap();
        early.splice(..4, shorter.to_be_bytes());
        early.truncate(right.len() - 17);
        self.refuse(
            "embedded-store-length-too-small",
            "the length ends within the last license",
            "the message is cut off",
            &early,
        );
        self.refuse(
            "embedded-store-length-of-nothing",
            "a length of nothing, and something behind it",
            FORM,
            &[0, 0, 0, 0, 0x80],
        );
        self.refuse(
            "embedded-store-no-array",
            "a single license without its array",
            "expected an array at byte 0",
            &[0, 0, 0, 2, 0x41, 1, 0],
        );
        self.refuse(
            "embedded-store-indefinite",
            "an array of indefinite length",
            "an item has indefinite length",
            &[0, 0, 0, 4, 0x9f, 0x41, 1, 0xff, 0],
        );
        self.refuse(
            "embedded-store-65",
            "65 licenses",
            "an embedded license store holds more than 64 licenses",
            &store(&vec![vec![1]; 65], 0),
        );
    }

    fn accept(&mut self, name: &str, proves: &str, store: &[u8], licenses: &[Vec<u8>]) {
        let digests: Vec<_> = licenses
            .iter()
            .map(|license| hex::encode(sha256(&[license])))
            .collect();
        self.push(
            name,
            proves,
            store,
            &Expect::Valid(&[("licenses", digests.join(" "))]),
        );
    }

    fn refuse(&mut self, name: &str, proves: &str, error: &str, store: &[u8]) {
        self.push(name, proves, store, &Expect::Invalid("V-038", error));
    }

    fn push(&mut self, name: &str, proves: &str, store: &[u8], expect: &Expect<'_>) {
        let kind = MessageType::EmbeddedStore;
        self.0
            .push(vector(kind, (name, proves), BTreeMap::new(), store, expect));
    }
}

/// A store of these licenses, with zeros behind them.
fn store(licenses: &[Vec<u8>], zeros: usize) -> Vec<u8> {
    let array = licenses.iter().cloned().map(Bytes).collect::<Vec<_>>().encode();
    let length = u32::try_from(array.len()).unwrap().to_be_bytes();
    [&length[..], &array, &vec![0; zeros]].concat()
}
