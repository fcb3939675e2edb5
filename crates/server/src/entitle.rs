//! What may the account have? Key ids of the request, each with its key and policy or its denial.

use keyward_content::header::ContentHeader;
use keyward_license::{
    error_code::ErrorCode,
    ids::Kid,
    request::{LicenseRequest, MAX_KIDS},
    response::Denial,
};

use crate::{
    Refusal,
    store::{Grant, KeyRow, RightRow},
};

/// A key id that the account is entitled to.
#[derive(Debug)]
pub(crate) struct Entitled {
    pub(crate) key: KeyRow,
    pub(crate) grant: Grant,
}

/// The key ids that a request asks for, each once, in the order of their first mention. Of content
/// headers nothing else counts: they are a stranger's words.
pub(crate) fn kids(request: &LicenseRequest) -> Result<Vec<Kid>, Refusal> {
    let mut kids: Vec<Kid> = Vec::new();
    let mut add = |kid: Kid| {
        if !kids.contains(&kid) {
            kids.push(kid);
        }
        if kids.len() > MAX_KIDS {
            Err(Refusal::TooManyKids(MAX_KIDS))
        } else {
            Ok(())
        }
    };
    for header in request.content_headers.iter().flatten() {
        for key in ContentHeader::read_object(&header.0)?.kids {
            add(key.kid)?;
        }
    }
    request.kids.iter().flatten().copied().try_for_each(add)?;
    Ok(kids)
}

/// Whether the account may have the key id, and under which policy.
pub(crate) fn entitle(right: RightRow) -> Result<Entitled, Denial> {
    match (right.key, right.grant) {
        (None, _) => Err(denial(
            ErrorCode::KidUnknown,
            "this operator does not know the key id",
        )),
        (Some(_), None) => Err(denial(
            ErrorCode::NotEntitled,
            "the account is not entitled to this content",
        )),
        (Some(key), Some(grant)) => Ok(Entitled { key, grant }),
    }
}

/// A denial with its number and sentence.
pub(crate) fn denial(code: ErrorCode, sentence: &str) -> Denial {
    Denial {
        code: code.number(),
        sentence: sentence.to_owned(),
        url: None,
    }
}
