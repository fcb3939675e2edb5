//! A box as a span of borrowed bytes.

use super::{BoxError, BoxKind, BoxPath, Fields, FourCc, Place, fields::wide, kind};

/// How the header of a box states its size (ISO/IEC 14496-12, 4.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SizeForm {
    /// In 32 bits.
    Compact,
    /// In 64 bits behind the type.
    Large,
    /// Size 0: to the end of the file, or of the container.
    ToEnd,
}

/// The header of a box, as it stands in front of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxHeader {
    /// What box it is.
    pub kind: BoxKind,
    /// How the size is stated.
    pub form: SizeForm,
    /// Bytes of the header: 8, 16, 24 or 32.
    pub header_len: u8,
    /// Bytes of the whole box.
    pub len: u64,
}

/// Most bytes of a header: 64-bit size and extended type.
pub const MAX_HEADER_LEN: usize = 32;

impl BoxHeader {
    /// Reads a header from the first bytes of a box that has at most `available` bytes.
    ///
    /// `bytes` need not be more than [`MAX_HEADER_LEN`]. `place` is where they are, for the error.
    ///
    /// # Errors
    /// [`BoxError::CutOff`] if the header is not complete, [`BoxError::Size`] if the size is less than the
    /// header or more than `available`.
    pub fn parse(bytes: &[u8], available: u64, place: Place) -> Result<Self, BoxError> {
        let mut fields = Fields::new(bytes, place.offset, place.path);
        let (size, fourcc) = (fields.u32()?, fields.fourcc()?);
        let (form, len) = match size {
            0 => (SizeForm::ToEnd, available),
            1 => (SizeForm::Large, fields.u64()?),
            size => (SizeForm::Compact, u64::from(size)),
        };
        let kind = if fourcc == kind::UUID {
            BoxKind::Uuid(fields.array()?)
        } else {
            BoxKind::Type(fourcc)
        };
        let header_len = header_len(kind, form);
        if len < u64::from(header_len) || len > available {
            return Err(BoxError::Size {
                place,
                stated: len,
                available,
            });
        }
        Ok(Self {
            kind,
            form,
            header_len,
            len,
        })
    }
}

/// Bytes of the header of a box.
pub(crate) const fn header_len(kind: BoxKind, form: SizeForm) -> u8 {
    let large = matches!(form, SizeForm::Large);
    match (kind, large) {
        (BoxKind::Type(_), false) => 8,
        (BoxKind::Type(_), true) => 16,
        (BoxKind::Uuid(_), false) => 24,
        (BoxKind::Uuid(_), true) => 32,
    }
}

/// A whole box in memory, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct BoxSpan<'a> {
    header: BoxHeader,
    bytes: &'a [u8],
    offset: u64,
    path: BoxPath,
}

impl<'a> BoxSpan<'a> {
    /// Reads the box that fills `bytes` exactly; `offset` is where its first byte is in the file.
    ///
    /// # Errors
    /// As [`BoxHeader::parse`]; [`BoxError::Size`] also if bytes are left behind the box.
    pub fn parse(bytes: &'a [u8], offset: u64) -> Result<Self, BoxError> {
        let span = Self::first(bytes, offset, Place::in_file(offset))?;
        if span.bytes.len() != bytes.len() {
            return Err(BoxError::Size {
                place: Place::in_file(offset),
                stated: span.header.len,
                available: wide(bytes.len()),
            });
        }
        Ok(span)
    }

    /// Reads the box that `bytes` begin with.
    fn first(bytes: &'a [u8], offset: u64, place: Place) -> Result<Self, BoxError> {
        let header = BoxHeader::parse(bytes, wide(bytes.len()), place)?;
        let len = usize::try_from(header.len).map_err(|_| BoxError::CutOff(place))?;
        Ok(Self {
            header,
            bytes: bytes.get(..len).ok_or(BoxError::CutOff(place))?,
            offset,
            path: place.path.join(header.kind).ok_or(BoxError::TooDeep(place))?,
        })
    }

    /// What box it is.
    #[must_use]
    pub const fn kind(&self) -> BoxKind {
        self.header.kind
    }

    /// Its header.
    #[must_use]
    pub const fn header(&self) -> BoxHeader {
        self.header
    }

    /// The whole box, header and body.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes behind the header.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.bytes
            .get(usize::from(self.header.header_len)..)
            .unwrap_or_default()
    }

    /// Where the first byte of the header is in the file.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the first byte of the body is in the file.
    #[must_use]
    pub fn body_offset(&self) -> u64 {
        self.offset.saturating_add(self.header.header_len.into())
    }

    /// The boxes around it, and itself.
    #[must_use]
    pub const fn path(&self) -> BoxPath {
        self.path
    }

    /// The fields of the body.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.body(), self.header.header_len.into(), self.path)
    }

    /// The boxes in the body.
    #[must_use]
    pub fn children(&self) -> Children<'a> {
        self.children_behind(&self.fields())
    }

    /// The boxes behind the fields that were read from this box.
    #[must_use]
    pub fn children_behind(&self, fields: &Fields<'a>) -> Children<'a> {
        Children::of(fields, self.offset)
    }

    /// The child of a kind; nothing if there is none.
    ///
    /// # Errors
    /// Those of [`Children`]; [`BoxError::Repeated`] if there are two.
    pub fn child(&self, kind: FourCc) -> Result<Option<Self>, BoxError> {
        self.children().only(kind)
    }

    /// The child of a kind that must be there.
    ///
    /// # Errors
    /// As [`Self::child`]; [`BoxError::Missing`] if there is none.
    pub fn need(&self, kind: FourCc) -> Result<Self, BoxError> {
        self.child(kind)?.ok_or(BoxError::Missing {
            path: self.path,
            missing: kind,
        })
    }

    /// An error about this box as a whole.
    #[must_use]
    pub const fn invalid(&self, rule: &'static str) -> BoxError {
        BoxError::Invalid {
            place: Place {
                path: self.path,
                offset: 0,
            },
            rule,
        }
    }

    /// The error for a box that asks for `what`.
    #[must_use]
    pub const fn unsupported(&self, what: &'static str) -> BoxError {
        BoxError::Unsupported {
            place: Place {
                path: self.path,
                offset: 0,
            },
            what,
        }
    }
}

/// The boxes inside of a box, one after the other.
///
/// Fewer than 8 bytes at the end are no box but padding (QuickTime ends some containers with four zeros) and
/// are passed over. After an error nothing follows.
#[derive(Debug, Clone)]
pub struct Children<'a> {
    rest: &'a [u8],
    /// Of `rest` in the file.
    offset: u64,
    /// Of `rest` in the container.
    place: Place,
}

impl<'a> Children<'a> {
    /// The boxes in what is left of the fields of a box that begins at `offset`.
    pub(crate) fn of(fields: &Fields<'a>, offset: u64) -> Self {
        let place = fields.place();
        Self {
            rest: fields.rest(),
            offset: offset.saturating_add(place.offset),
            place,
        }
    }

    /// The one box of a kind; nothing if there is none.
    ///
    /// # Errors
    /// [`BoxError::Size`], [`BoxError::CutOff`] or [`BoxError::TooDeep`] for a child that is not a box;
    /// [`BoxError::Repeated`] if there are two of the kind.
    pub fn only(self, kind: FourCc) -> Result<Option<BoxSpan<'a>>, BoxError> {
        let mut found = None;
        let mut children = self;
        while let Some((place, child)) = children.next_placed() {
            let child = child?;
            if child.kind() == kind && found.replace(child).is_some() {
                return Err(BoxError::Repeated {
                    place,
                    repeated: kind,
                });
            }
        }
        Ok(found)
    }

    /// The bytes that no box was read from yet. At the end: the padding.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn next_placed(&mut self) -> Option<(Place, Result<BoxSpan<'a>, BoxError>)> {
        if self.rest.len() < 8 {
            return None;
        }
        let place = self.place;
        let child = BoxSpan::first(self.rest, self.offset, place);
        let len = child.map_or(self.rest.len(), |child| child.bytes.len());
        self.rest = self.rest.get(len..).unwrap_or_default();
        self.offset = self.offset.saturating_add(wide(len));
        self.place.offset = place.offset.saturating_add(wide(len));
        Some((place, child))
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<BoxSpan<'a>, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_placed().map(|(_, child)| child)
    }
}
