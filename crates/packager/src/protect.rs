//! Protecting a file of any kind: the whole flow.

use std::io::Read;

use keyward_content::{
    file::{ChunkSize, FileHeader, Sealer},
    header::ContentHeader,
};
use keyward_license::ids::Kid;
use rand_core::CryptoRng;

use crate::{KeySource, OutputSink, PackagerError, seal};

/// What to protect a file with.
#[derive(Debug)]
pub struct ProtectOptions {
    /// The key id that licenses for the file name.
    pub kid: Kid,
    /// Where its content key comes from.
    pub key: KeySource,
    /// Where licenses are requested; an absolute URL.
    pub license_url: Option<String>,
    /// Where a person can obtain a license; an absolute URL.
    pub license_ui_url: Option<String>,
    /// Id of the domain service, 16 bytes, big-endian.
    pub domain_service_id: Option<[u8; 16]>,
    /// XML of the application's own, carried in the content header and ignored by Keyward.
    pub custom_attributes: Option<String>,
    /// Name of the original, without folders.
    pub name: Option<String>,
    /// Media type of the original, without parameters.
    pub media_type: Option<String>,
    /// Plaintext bytes in a chunk.
    pub chunk_size: ChunkSize,
    /// Bytes to reserve for licenses embedded later, at most 65536.
    pub store_len: u32,
}

impl ProtectOptions {
    /// The least there is to say; 64 KiB chunks and no room for embedded licenses.
    #[must_use]
    pub fn new(kid: Kid, key: KeySource) -> Self {
        Self {
            kid,
            key,
            license_url: None,
            license_ui_url: None,
            domain_service_id: None,
            custom_attributes: None,
            name: None,
            media_type: None,
            chunk_size: ChunkSize::default(),
            store_len: 0,
        }
    }

    /// The content header of a plain file: its key id without ALGID, and where licenses are.
    fn content_header(&self) -> ContentHeader {
        ContentHeader {
            license_ui_url: self.license_ui_url.clone(),
            domain_service_id: self.domain_service_id,
            custom_attributes: self.custom_attributes.clone(),
            ..ContentHeader::for_file(self.kid, self.license_url.clone())
        }
    }

    fn file_header(&self) -> Result<FileHeader, PackagerError> {
        Ok(FileHeader {
            chunk_size: self.chunk_size,
            store_len: self.store_len,
            name: self.name.clone(),
            media_type: self.media_type.clone(),
            ..FileHeader::new(self.content_header().to_object_bytes()?, self.kid)
        })
    }
}

/// A file that was protected.
#[derive(Debug)]
pub struct Protected<T> {
    /// The key id that licenses for it name.
    pub kid: Kid,
    /// Bytes of the original.
    pub plain_len: u64,
    /// Bytes of the protected file.
    pub sealed_len: u64,
    /// What the sink made of it.
    pub output: T,
}

/// Protects everything that `input` gives, into `output`.
///
/// One thread reads and seals, the calling thread writes; memory does not grow with the file.
/// `progress` is called after each write with the bytes of the original that are done.
///
/// # Errors
/// [`PackagerError`]; then `output` is dropped without commit.
pub fn protect_file<S: OutputSink>(
    input: impl Read + Send,
    mut output: S,
    options: &ProtectOptions,
    rng: &mut impl CryptoRng,
    progress: &mut dyn FnMut(u64),
) -> Result<Protected<S::Output>, PackagerError> {
    // 1. The content key, from the seed and the key id or as it was given.
    let content_key = options.key.content_key(options.kid);

    // 2. The content header, which names the key id and the license server.
    let header = options.file_header()?;

    // 3. The keys of this file: salt, chunk key, commitment.
    let (sealer, positions) = Sealer::new(&content_key, &header, rng)?;

    // 4. Everything before the first chunk.
    output.write_all(sealer.prefix()).map_err(PackagerError::Write)?;

    // 5. The chunks, the last one marked as such.
    let done = seal::run(input, &mut output, &sealer, positions, progress)?;

    // 6. The output becomes visible.
    let sealed_len = done.sealed_len.saturating_add(sealer.prefix().len() as u64);
    let output = output.commit().map_err(PackagerError::Write)?;
    Ok(Protected {
        kid: options.kid,
        plain_len: done.plain_len,
        sealed_len,
        output,
    })
}
