//! `pssh` boxes: which protection system they speak to, and what they say.

use keyward_content::pssh::{Pssh, PsshError, SystemId};

use super::{
    content_header,
    explanation::{Explanation, Fields, Kind, Standing, length, list, plain, size},
};
use crate::failure::Failure;

/// Explains bytes that begin with a `pssh` box; nothing if other boxes follow.
pub(super) fn explain(bytes: &[u8]) -> Option<Result<Explanation, Failure>> {
    let (stated, fourcc) = bytes.split_at_checked(4)?;
    if !fourcc.starts_with(b"pssh") {
        return None;
    }
    match Pssh::parse_all(bytes) {
        Ok(boxes) => {
            let fields = Fields::default().with("boxes", list(&boxes, |pssh| fields(pssh).into()));
            let standing = Standing::unverified("nothing in a pssh box is signed");
            Some(Ok(Explanation::new(Kind::Pssh, length(bytes), standing, fields)))
        }
        Err(error) => {
            let stated = stated.first_chunk().map(|stated| u32::from_be_bytes(*stated));
            let alone = stated.is_some_and(|stated| u64::from(stated) >= length(bytes));
            alone.then(|| Err(malformed(error)))
        }
    }
}

/// What the body of a `pssh` box says, or why it says nothing.
pub(super) fn body_fields(body: &[u8]) -> Fields {
    match Pssh::parse_body(body) {
        Ok(pssh) => fields(&pssh),
        Err(error) => Fields::default().faults([error.to_string()]),
    }
}

fn fields(pssh: &Pssh) -> Fields {
    let id = pssh.system_id;
    let name = SYSTEMS
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, name)| *name);
    let has_object = matches!(id, SystemId::KEYWARD | SystemId::PLAYREADY);
    Fields::default()
        .with("system_id", plain(id))
        .with("system", name.map(plain))
        .with("version", u64::from(pssh.kids.is_some()))
        .with("kids", pssh.kids.as_ref().map(|kids| list(kids, plain)))
        .with("data_bytes", size(&pssh.data))
        .with(
            "content_header",
            has_object.then(|| content_header::object_fields(&pssh.data)),
        )
}

fn malformed(error: PsshError) -> Failure {
    Failure::new(format!("this begins like a pssh box, but {error}"), error.hint())
}

/// Protection systems by the UUIDs that are registered for them.
const SYSTEMS: [(SystemId, &str); 9] = [
    (SystemId::KEYWARD, "Keyward"),
    (SystemId::COMMON, "common"),
    (SystemId::PLAYREADY, "PlayReady"),
    (system(0xedef_8ba9_79d6_4ace_a3c8_27dc_d51d_21ed), "Widevine"),
    (
        system(0x94ce_86fb_07ff_4f43_adb8_93d2_fa96_8ca2),
        "FairPlay Streaming",
    ),
    (
        system(0xe271_9d58_a985_b3c9_781a_b030_af78_d30e),
        "Clear Key (DASH-IF)",
    ),
    (system(0x5e62_9af5_38da_4063_8977_97ff_bd99_02d4), "Marlin"),
    (system(0xf239_e769_efa3_4850_9c16_a903_c693_2efb), "Primetime"),
    (system(0x3d5e_6d35_9b9a_41e8_b843_dd3c_6e72_c42c), "WisePlay"),
];

const fn system(id: u128) -> SystemId {
    SystemId::from_bytes(id.to_be_bytes())
}
