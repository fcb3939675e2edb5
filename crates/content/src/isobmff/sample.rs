//! One sample of a track, and its flags.

/// Where a sample is and what its tables say of it. Times are in the timescale of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Its number in the track, or in the track fragment, from 0.
    pub index: u32,
    /// Its first byte in the file.
    pub offset: u64,
    /// Its bytes.
    pub size: u32,
    /// When it is decoded.
    pub decode_time: u64,
    /// Until the next one is decoded.
    pub duration: u32,
    /// From its decoding to its composition.
    pub composition_offset: i64,
    /// Sync and dependencies.
    pub flags: SampleFlags,
    /// Which sample entry describes it, from 1.
    pub description_index: u32,
    /// Its chunk in the track, or its run in the track fragment, from 0.
    pub chunk: u32,
}

impl Sample {
    /// The byte behind its last one.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.size as u64)
    }

    /// Whether decoding can begin with it.
    #[must_use]
    pub const fn is_sync(&self) -> bool {
        self.flags.is_sync()
    }
}

/// Sync and dependencies of a sample, in the form of fragments (ISO/IEC 14496-12, 8.8.3.1): from the highest
/// bit 4 reserved, `is_leading` 2, `sample_depends_on` 2, `sample_is_depended_on` 2,
/// `sample_has_redundancy` 2, `sample_padding_value` 3, `sample_is_non_sync_sample` 1,
/// `sample_degradation_priority` 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SampleFlags(pub u32);

impl SampleFlags {
    const NON_SYNC: u32 = 1 << 16;
    const DEPENDS_ON_NONE: u32 = 2 << 24;
    const DEPENDS_ON_OTHERS: u32 = 1 << 24;

    /// A sync sample, which depends on no other.
    pub const SYNC: Self = Self(Self::DEPENDS_ON_NONE);
    /// A sample that is no sync sample and depends on others.
    pub const NOT_SYNC: Self = Self(Self::NON_SYNC | Self::DEPENDS_ON_OTHERS);

    /// The flags that the tables of a progressive file amount to: whether `stss` names the sample, and its
    /// byte of `sdtp` if there is one.
    #[must_use]
    pub fn from_tables(sync: bool, dependencies: Option<u8>) -> Self {
        match (dependencies, sync) {
            (Some(byte), true) => Self(u32::from(byte) << 20),
            (Some(byte), false) => Self(u32::from(byte) << 20 | Self::NON_SYNC),
            (None, true) => Self::SYNC,
            (None, false) => Self::NOT_SYNC,
        }
    }

    /// Whether decoding can begin with the sample.
    #[must_use]
    pub const fn is_sync(self) -> bool {
        self.0 & Self::NON_SYNC == 0
    }
}
