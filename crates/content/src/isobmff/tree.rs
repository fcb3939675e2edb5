//! An editable tree of boxes that keeps what is not touched byte for byte.

use core::convert::Infallible;
use std::{borrow::Cow, io};

use super::{
    BoxError, BoxHeader, BoxKind, BoxPath, BoxSpan, Children, Fields, FourCc, SizeForm, boxes::header_len,
    error::MAX_DEPTH, fields::wide, kind,
};

/// Most boxes inside of a box that is opened: a node is larger than the smallest box.
pub const MAX_CHILDREN: usize = 1 << 16;

/// A box that can be changed: its kind, its fields, the boxes inside.
///
/// A node read from a file borrows its bytes. It is opened (its children become nodes) only where somebody
/// looks inside; what was not opened or replaced is written as it was read, and an opened box too, as long as
/// nothing in it changed: header form, fields in front of the children and padding behind them are kept.
///
/// ```
/// use keyward_content::isobmff::{BoxSpan, Node, kind};
///
/// let bytes = b"\0\0\0\x18moov\0\0\0\x08abcd\0\0\0\x08free";
/// let mut moov = Node::from_span(&BoxSpan::parse(bytes, 0)?);
/// moov.children_mut()?.retain(|child| child.kind() != kind::FREE);
/// assert_eq!(moov.to_vec(), b"\0\0\0\x10moov\0\0\0\x08abcd");
/// # Ok::<(), keyward_content::isobmff::BoxError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Node<'a> {
    kind: BoxKind,
    form: SizeForm,
    path: BoxPath,
    content: Content<'a>,
}

#[derive(Debug, Clone)]
enum Content<'a> {
    /// The body, not opened.
    Body(Cow<'a, [u8]>),
    /// The body, opened.
    Children {
        fields: Cow<'a, [u8]>,
        children: Vec<Node<'a>>,
        padding: Cow<'a, [u8]>,
    },
}

impl<'a> Node<'a> {
    /// A node for a box that was read.
    #[must_use]
    pub fn from_span(span: &BoxSpan<'a>) -> Self {
        let BoxHeader { kind, form, .. } = span.header();
        Self {
            kind,
            form,
            path: span.path(),
            content: Content::Body(Cow::Borrowed(span.body())),
        }
    }

    /// A new box with a body.
    #[must_use]
    pub fn new(kind: impl Into<BoxKind>, body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::with_content(kind.into(), Content::Body(body.into()))
    }

    /// A new full box (ISO/IEC 14496-12, 4.2.2): version, the lower 24 bits of `flags`, then `body`.
    #[must_use]
    pub fn full(kind: impl Into<BoxKind>, version: u8, flags: u32, body: &[u8]) -> Self {
        let [_, a, b, c] = flags.to_be_bytes();
        Self::new(kind, [&[version, a, b, c], body].concat())
    }

    /// A new box with boxes inside.
    #[must_use]
    pub fn container(kind: impl Into<BoxKind>, children: Vec<Self>) -> Self {
        Self::with_content(
            kind.into(),
            Content::Children {
                fields: Cow::default(),
                children,
                padding: Cow::default(),
            },
        )
    }

    fn with_content(kind: BoxKind, content: Content<'a>) -> Self {
        Self {
            kind,
            form: SizeForm::Compact,
            path: BoxPath::TOP.join(kind).unwrap_or(BoxPath::TOP),
            content,
        }
    }

    /// What box it is.
    #[must_use]
    pub const fn kind(&self) -> BoxKind {
        self.kind
    }

    /// Makes another box of it; the body stays.
    pub fn set_kind(&mut self, kind: impl Into<BoxKind>) {
        self.kind = kind.into();
    }

    /// The boxes around it where it was read, and itself.
    #[must_use]
    pub const fn path(&self) -> BoxPath {
        self.path
    }

    /// The body; of an opened box the fields in front of its children.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.content {
            Content::Body(body) => body,
            Content::Children { fields, .. } => fields,
        }
    }

    /// The fields of [`Self::body`].
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        let header_len = header_len(self.kind, self.form);
        Fields::new(self.body(), header_len.into(), self.path)
    }

    /// [`Self::body`], to be changed.
    pub fn body_mut(&mut self) -> &mut Vec<u8> {
        match &mut self.content {
            Content::Body(body) => body.to_mut(),
            Content::Children { fields, .. } => fields.to_mut(),
        }
    }

    /// Overwrites the number of 32 bits at a place in [`Self::body`].
    ///
    /// # Errors
    /// [`BoxError::CutOff`] if the body does not reach that far.
    pub fn replace_u32(&mut self, at: usize, value: u32) -> Result<(), BoxError> {
        self.replace(at, &value.to_be_bytes())
    }

    /// Overwrites bytes at a place in [`Self::body`].
    ///
    /// # Errors
    /// [`BoxError::CutOff`] if the body does not reach that far.
    pub fn replace(&mut self, at: usize, bytes: &[u8]) -> Result<(), BoxError> {
        let error = BoxError::CutOff(self.fields().place());
        self.body_mut()
            .get_mut(at..)
            .and_then(|rest| rest.get_mut(..bytes.len()))
            .ok_or(error)?
            .copy_from_slice(bytes);
        Ok(())
    }

    /// Overwrites version and flags of a full box.
    ///
    /// # Errors
    /// [`BoxError::CutOff`] if the body has fewer than 4 bytes.
    pub fn set_version_and_flags(&mut self, version: u8, flags: u32) -> Result<(), BoxError> {
        let [_, a, b, c] = flags.to_be_bytes();
        self.replace(0, &[version, a, b, c])
    }

    /// The children of a box that was opened or made with children; none of another.
    #[must_use]
    pub fn children(&self) -> &[Self] {
        match &self.content {
            Content::Body(_) => &[],
            Content::Children { children, .. } => children,
        }
    }

    /// Opens the box, if it is not yet, and gives its children. All of the body is taken for children, except
    /// for a `stsd` or `dref`, which have 8 bytes of fields in front.
    ///
    /// # Errors
    /// Those of [`Children`].
    pub fn children_mut(&mut self) -> Result<&mut Vec<Self>, BoxError> {
        let fields = match self.kind.fourcc() {
            kind::STSD | kind::DREF => 8,
            _ => 0,
        };
        self.children_behind_mut(fields)
    }

    /// Opens the box, if it is not yet, and gives the children behind `fields_len` bytes of fields.
    ///
    /// # Errors
    /// Those of [`Children`]; [`BoxError::CutOff`] if the body is shorter than its fields.
    pub fn children_behind_mut(&mut self, fields_len: usize) -> Result<&mut Vec<Self>, BoxError> {
        self.open(fields_len)?;
        match &mut self.content {
            Content::Children { children, .. } => Ok(children),
            Content::Body(_) => Err(BoxError::Edit {
                path: self.path,
                why: "it was not opened",
            }),
        }
    }

    fn open(&mut self, fields_len: usize) -> Result<(), BoxError> {
        let Content::Body(body) = &self.content else {
            return Ok(());
        };
        let header_len = u64::from(header_len(self.kind, self.form));
        let content = match body {
            Cow::Borrowed(body) => opened(body, fields_len, header_len, self.path)?,
            // Children of a body that was changed before it was opened own their bytes.
            Cow::Owned(body) => opened(body, fields_len, header_len, self.path)?.into_owned(),
        };
        self.content = content;
        Ok(())
    }

    /// Opens every box of a known container kind, as deep as [`MAX_DEPTH`]. Sample entries stay closed: how
    /// long their fields are depends on the track.
    ///
    /// # Errors
    /// As [`Self::children_mut`].
    pub fn open_all(&mut self) -> Result<(), BoxError> {
        self.open_to(MAX_DEPTH)
    }

    fn open_to(&mut self, depth: usize) -> Result<(), BoxError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(BoxError::TooDeep(self.fields().place()));
        };
        if is_container(self.kind.fourcc()) {
            for child in self.children_mut()? {
                child.open_to(depth)?;
            }
        }
        Ok(())
    }

    /// The first child of a kind, opening this box; nothing if there is none.
    ///
    /// # Errors
    /// As [`Self::children_mut`].
    pub fn child_mut(&mut self, kind: FourCc) -> Result<Option<&mut Self>, BoxError> {
        Ok(self.children_mut()?.iter_mut().find(|child| child.kind == kind))
    }

    /// The first child of a kind that must be there, opening this box.
    ///
    /// # Errors
    /// As [`Self::children_mut`]; [`BoxError::Missing`].
    pub fn need_mut(&mut self, kind: FourCc) -> Result<&mut Self, BoxError> {
        let path = self.path;
        self.child_mut(kind)?
            .ok_or(BoxError::Missing { path, missing: kind })
    }

    /// Follows a path of boxes that must be there, the first of each kind, opening them.
    ///
    /// # Errors
    /// As [`Self::need_mut`].
    pub fn descend_mut(&mut self, kinds: &[FourCc]) -> Result<&mut Self, BoxError> {
        kinds.iter().try_fold(self, |node, kind| node.need_mut(*kind))
    }

    /// Bytes of the whole box when written.
    #[must_use]
    pub fn encoded_len(&self) -> u64 {
        let body = self.body_len();
        body.saturating_add(self.header_len_for(body).into())
    }

    /// Where a descendant begins when this box is written, from the first byte of this box. The descendant is
    /// named by its index among the children at each level; only opened boxes are looked into.
    #[must_use]
    pub fn offset_of(&self, indexes: &[usize]) -> Option<u64> {
        let Some((&index, deeper)) = indexes.split_first() else {
            return Some(0);
        };
        let child = self.children().get(index)?;
        let before = self.children().iter().take(index).map(Self::encoded_len);
        let start = u64::from(self.header_len_for(self.body_len()))
            .checked_add(wide(self.body().len()))?
            .checked_add(before.fold(0, u64::saturating_add))?;
        start.checked_add(child.offset_of(deeper)?)
    }

    /// The whole box as bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(usize::try_from(self.encoded_len()).unwrap_or_default());
        self.append_to(&mut out);
        out
    }

    /// Appends the whole box.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let Ok(()) = self.emit::<Infallible>(true, &mut |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        });
    }

    /// Writes the whole box.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write_to(&self, out: &mut impl io::Write) -> io::Result<()> {
        self.emit(true, &mut |bytes| out.write_all(bytes))
    }

    /// Hands out the bytes of the box. Size 0 is written only for the `last` box of its container.
    fn emit<E>(&self, last: bool, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let body_len = self.body_len();
        self.emit_header(body_len, last, sink)?;
        match &self.content {
            Content::Body(body) => sink(body),
            Content::Children {
                fields,
                children,
                padding,
            } => {
                sink(fields)?;
                let (end, others) = match children.split_last() {
                    Some((end, others)) => (Some(end), others),
                    None => (None, children.as_slice()),
                };
                for child in others {
                    child.emit(false, sink)?;
                }
                if let Some(end) = end {
                    end.emit(padding.is_empty(), sink)?;
                }
                sink(padding)
            }
        }
    }

    fn emit_header<E>(
        &self,
        body_len: u64,
        last: bool,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let header_len = self.header_len_for(body_len);
        let len = body_len.saturating_add(header_len.into());
        let fourcc = self.kind.fourcc();
        let large = header_len == self::header_len(self.kind, SizeForm::Large);
        match u32::try_from(len) {
            _ if large => sink(&1_u32.to_be_bytes())?,
            Ok(len) if !last || self.form != SizeForm::ToEnd => sink(&len.to_be_bytes())?,
            _ => sink(&[0; 4])?,
        }
        sink(&fourcc.0)?;
        if large {
            sink(&len.to_be_bytes())?;
        }
        match self.kind {
            BoxKind::Type(_) => Ok(()),
            BoxKind::Uuid(uuid) => sink(&uuid),
        }
    }

    /// Bytes of the header in front of a body: a size that does not fit into 32 bits becomes a large one.
    fn header_len_for(&self, body_len: u64) -> u8 {
        let as_read = header_len(self.kind, self.form);
        if body_len.saturating_add(as_read.into()) > u32::MAX.into() {
            return header_len(self.kind, SizeForm::Large);
        }
        as_read
    }

    fn body_len(&self) -> u64 {
        match &self.content {
            Content::Body(body) => wide(body.len()),
            Content::Children {
                fields,
                children,
                padding,
            } => children
                .iter()
                .map(Self::encoded_len)
                .fold(wide(fields.len()), u64::saturating_add)
                .saturating_add(wide(padding.len())),
        }
    }

    /// The same box without borrowed bytes.
    #[must_use]
    pub fn into_owned(self) -> Node<'static> {
        Node {
            kind: self.kind,
            form: self.form,
            path: self.path,
            content: self.content.into_owned(),
        }
    }
}

impl Content<'_> {
    fn into_owned(self) -> Content<'static> {
        match self {
            Self::Body(body) => Content::Body(Cow::Owned(body.into_owned())),
            Self::Children {
                fields,
                children,
                padding,
            } => Content::Children {
                fields: Cow::Owned(fields.into_owned()),
                children: children.into_iter().map(Node::into_owned).collect(),
                padding: Cow::Owned(padding.into_owned()),
            },
        }
    }
}

/// Splits a body into fields, children and padding.
fn opened(body: &[u8], fields_len: usize, header_len: u64, path: BoxPath) -> Result<Content<'_>, BoxError> {
    let mut fields = Fields::new(body, header_len, path);
    let taken = fields.bytes(fields_len)?;
    let mut spans = Children::of(&fields, 0);
    let mut children = Vec::new();
    while let Some(span) = spans.next().transpose()? {
        if children.len() >= MAX_CHILDREN {
            return Err(BoxError::TooMany {
                path,
                what: "boxes",
                limit: wide(MAX_CHILDREN),
            });
        }
        children.push(Node::from_span(&span));
    }
    Ok(Content::Children {
        fields: Cow::Borrowed(taken),
        children,
        padding: Cow::Borrowed(spans.rest()),
    })
}

/// Boxes that have nothing but boxes in them (or a count in front of them) wherever they stand.
const fn is_container(kind: FourCc) -> bool {
    matches!(
        kind,
        kind::MOOV
            | kind::TRAK
            | kind::EDTS
            | kind::MDIA
            | kind::MINF
            | kind::DINF
            | kind::DREF
            | kind::STBL
            | kind::STSD
            | kind::MVEX
            | kind::MOOF
            | kind::TRAF
            | kind::MFRA
            | kind::SINF
            | kind::SCHI
            | kind::RINF
    )
}
