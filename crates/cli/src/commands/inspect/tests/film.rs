//! A film of a few bytes: a fragment with three video samples, the first clear, and what describes them.

use keyward_content::{
    cenc::{Iv, Pattern, Scheme, Subsample},
    header::ContentHeader,
    isobmff::{
        AuxiliaryBoxes, EntryProtection, FourCc, NewTrackFragment, Node, Sample, SampleFlags, SegmentIndex,
        SegmentReference, TrackEncryption, edit, kind, new_fragment,
    },
    pssh::Pssh,
};
use keyward_license::ids::Kid;

const KID: Kid = Kid::new([0x5a; 16]);

/// The whole file.
pub(crate) fn film() -> Vec<u8> {
    let ftyp = Node::new(kind::FTYP, b"iso6\0\0\0\x01iso6cmfc".to_vec());
    let fragments = [fragment(0, 2), fragment(1, 1)].concat();
    let index = SegmentIndex {
        reference_id: 1,
        timescale: 1000,
        earliest_presentation_time: 0,
        first_offset: 0,
        references: vec![SegmentReference {
            size: u32::try_from(fragments.len()).unwrap(),
            duration: 120,
            ..SegmentReference::default()
        }],
    };
    [
        ftyp.to_vec(),
        movie().to_vec(),
        index.to_node().unwrap().to_vec(),
        fragments,
    ]
    .concat()
}

fn movie() -> Node<'static> {
    let header = |kind| Node::full(kind, 0, 0, &[[0; 8], *b"\0\0\x03\xe8\0\0\0\0"].concat());
    let counted = |kind| Node::full(kind, 0, 0, &[0; 4]);
    let stbl = Node::container(
        kind::STBL,
        vec![
            Node::new(
                kind::STSD,
                [&[0, 0, 0, 0, 0, 0, 0, 2][..], &entry(true), &entry(false)].concat(),
            ),
            counted(kind::STTS),
            counted(kind::STSC),
            Node::full(kind::STSZ, 0, 0, &[0; 8]),
            counted(kind::STCO),
        ],
    );
    let mdia = vec![
        header(kind::MDHD),
        Node::full(kind::HDLR, 0, 0, b"\0\0\0\0vide"),
        Node::container(kind::MINF, vec![stbl]),
    ];
    let trak = vec![
        Node::full(kind::TKHD, 0, 3, &[[0; 8], [0, 0, 0, 1, 0, 0, 0, 0]].concat()),
        Node::container(kind::MDIA, mdia),
    ];
    let trex = Node::full(kind::TREX, 0, 0, &[[0, 0, 0, 1].as_slice(), &[0; 16]].concat());
    let object = ContentHeader::for_file(KID, Some("https://license.example/".into()));
    Node::container(
        kind::MOOV,
        vec![
            header(kind::MVHD),
            Node::container(kind::TRAK, trak),
            Node::container(kind::MVEX, vec![trex]),
            pssh(&Pssh::keyward(object.to_object_bytes().unwrap())),
            pssh(&Pssh::common(vec![KID])),
        ],
    )
}

fn pssh(pssh: &Pssh) -> Node<'static> {
    Node::new(kind::PSSH, pssh.to_bytes().unwrap()[8..].to_vec())
}

/// A video sample entry; the boxes in it come behind 78 bytes of fields.
fn entry(protected: bool) -> Vec<u8> {
    let mut body = vec![0; 78];
    body.extend(Node::new(FourCc(*b"avcC"), vec![1]).to_vec());
    if !protected {
        return Node::new(FourCc(*b"avc1"), body).to_vec();
    }
    let protection = EntryProtection {
        original_format: FourCc(*b"avc1"),
        scheme_type: FourCc(*b"cbcs"),
        scheme_version: 0x1_0000,
        scheme: Some(Scheme::Cbcs),
        default: Some(TrackEncryption {
            protected: true,
            pattern: Pattern::VIDEO,
            iv_size: 0,
            kid: KID,
            constant_iv: Some(Iv::new(&[9; 16]).unwrap()),
        }),
    };
    body.extend(protection.to_node().to_vec());
    Node::new(kind::ENCV, body).to_vec()
}

/// Samples of 50 bytes; `description` 2 is the clear sample entry.
fn fragment(number: u32, description: u32) -> Vec<u8> {
    let count = number + 1;
    let samples: Vec<Sample> = (0..count)
        .map(|index| Sample {
            index,
            offset: 0,
            size: 50,
            decode_time: 0,
            duration: 40,
            composition_offset: 0,
            flags: SampleFlags::SYNC,
            description_index: description,
            chunk: 0,
        })
        .collect();
    let track = NewTrackFragment {
        track_id: 1,
        description_index: description,
        decode_time: u64::from(number) * 40,
        data_start: 0,
        samples: &samples,
    };
    let mut moof = new_fragment(number + 1, &[track]).unwrap();
    if description == 1 {
        let mut boxes = AuxiliaryBoxes::new(true);
        let parts = [(10, 30), (4, 6)].map(|(clear, protected)| Subsample { clear, protected });
        samples.iter().for_each(|_| boxes.push(None, &parts).unwrap());
        edit::append_auxiliary(&mut moof, 0, &boxes).unwrap();
    }
    let len = moof.encoded_len();
    edit::shift_data_offsets(&mut moof, len, i64::try_from(len).unwrap() + 8).unwrap();
    edit::point_auxiliary(&mut moof).unwrap();
    let data = Node::new(kind::MDAT, vec![0xee; 50 * samples.len()]);
    [moof.to_vec(), data.to_vec()].concat()
}
