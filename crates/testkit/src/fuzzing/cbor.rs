//! The oracle for our CBOR: `minicbor` alone takes bytes apart and puts them together again.

use keyward_license::codec::{FIRST_OPTIONAL_KEY, Wire};
use minicbor::{Decoder, Encoder, data::Type};

/// The bytes as the library writes what it reads in them. Whatever passes the gate has one spelling, so
/// it must come out as it went in.
pub(super) fn respelled(bytes: &[u8]) -> Vec<u8> {
    whole(bytes, &|_| true)
}

/// Reads a `T`. Whatever it does not skip as optional must come out of it again, byte for byte.
pub(super) fn read<T: Wire>(bytes: &[u8]) -> Option<T> {
    let value = T::decode(bytes).ok()?;
    // No message of version 1 knows an optional key, so a reader may lose those and nothing else.
    assert_eq!(value.encode(), whole(bytes, &|key| key < FIRST_OPTIONAL_KEY));
    Some(value)
}

fn whole(bytes: &[u8], keep: &dyn Fn(u64) -> bool) -> Vec<u8> {
    let mut decoder = Decoder::new(bytes);
    let item = item(&mut decoder, keep);
    assert_eq!(decoder.position(), bytes.len());
    item
}

/// The next item, without the map entries whose unsigned key is not to be kept.
fn item(decoder: &mut Decoder<'_>, keep: &dyn Fn(u64) -> bool) -> Vec<u8> {
    let mut out = Encoder::new(Vec::new());
    match decoder.datatype().unwrap() {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => drop(out.u64(decoder.u64().unwrap())),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => drop(out.int(decoder.int().unwrap())),
        Type::Bytes => drop(out.bytes(decoder.bytes().unwrap())),
        Type::String => drop(out.str(decoder.str().unwrap())),
        Type::Bool => drop(out.bool(decoder.bool().unwrap())),
        Type::Null => {
            decoder.null().unwrap();
            drop(out.null());
        }
        Type::Tag => {
            out.tag(decoder.tag().unwrap()).unwrap();
            out.writer_mut().extend(item(decoder, keep));
        }
        Type::Array => {
            let len = decoder.array().unwrap().unwrap();
            out.array(len).unwrap();
            (0..len).for_each(|_| out.writer_mut().extend(item(decoder, keep)));
        }
        Type::Map => {
            let len = decoder.map().unwrap().unwrap();
            let entries = (0..len).filter_map(|_| entry(decoder, keep)).collect::<Vec<_>>();
            out.map(entries.len() as u64).unwrap();
            entries.iter().for_each(|entry| out.writer_mut().extend(entry));
        }
        other => unreachable!("the gate let {other} through"),
    }
    out.into_writer()
}

fn entry(decoder: &mut Decoder<'_>, keep: &dyn Fn(u64) -> bool) -> Option<Vec<u8>> {
    let is_kept = decoder.probe().u64().map_or(true, keep);
    let entry = [item(decoder, keep), item(decoder, keep)].concat();
    is_kept.then_some(entry)
}
