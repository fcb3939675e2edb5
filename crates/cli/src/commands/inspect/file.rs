//! Protected files: the any-file container.

use std::io::{self, Read};

use keyward_content::file::{FileHeader, LockedFile};
use keyward_crypto::stream::TAG_LEN;

use super::{
    content_header,
    embedded::store_fields,
    explanation::{Explanation, Fields, Kind, Standing, Value, foreign, plain, said},
};

/// Explains a protected file.
pub(super) fn explain(source: &mut impl Read) -> io::Result<Explanation> {
    let locked = LockedFile::read_from(source)?;
    let sealed = io::copy(source, &mut io::sink())?;
    let header = locked.unverified_header();
    let (layout, fault) = layout(header, sealed);
    let fields = Fields::default()
        .with("kid", plain(header.kid))
        .with("name", header.name.as_deref().map(foreign))
        .with("media_type", header.media_type.as_deref().map(foreign))
        .and(layout)
        .with("embedded_license_store", store_fields(locked.embedded_store()))
        .with("content_header", content_header::fields(locked.content_header()))
        .faults(fault);
    let bytes = locked.embedded_store_range().end.saturating_add(sealed);
    let standing =
        Standing::unverified("nothing vouches for the header of a file until it is opened with its key");
    Ok(Explanation::new(Kind::ProtectedFile, bytes, standing, fields)
        .not_checked(&["that the content key opens the file, and that no byte of it was altered"]))
}

/// How many chunks and clear bytes there are in so many sealed bytes.
fn layout(header: &FileHeader, sealed: u64) -> (Fields, Option<String>) {
    let [clear, tag] =
        [header.chunk_size.bytes(), TAG_LEN].map(|length| u64::try_from(length).unwrap_or(u64::MAX));
    let chunks = sealed.div_ceil(clear.saturating_add(tag));
    let before_last = chunks.saturating_sub(1).saturating_mul(clear.saturating_add(tag));
    let fault = if sealed.saturating_sub(before_last) < tag {
        Some("the file is cut off".to_owned())
    } else if chunks > header.chunk_size.max_chunks() {
        Some("the file is larger than its chunk size permits".to_owned())
    } else {
        None
    };
    let clear_bytes = sealed
        .checked_sub(chunks.saturating_mul(tag))
        .filter(|_| fault.is_none());
    let fields = Fields::default()
        .with("cipher", said("aes-128-gcm", "AES-128-GCM, chunk by chunk"))
        .with("chunk_bytes", Value::Size(clear))
        .with("chunks", chunks)
        .with("clear_bytes", clear_bytes.map(Value::Size));
    (fields, fault)
}
