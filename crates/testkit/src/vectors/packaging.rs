//! Packaging data, both directions.

mod requests;
mod responses;

use keyward_license::{
    license::KeyType,
    packaging::{Periods, WantedTrack},
};

use super::{Vector, World};

const WRONG_ROLE: &str =
    "the signer is not trusted: certificate chain refused: it is not valid for this role";

pub(super) use requests::example as example_request;
pub(super) use responses::example as example_response;

pub(super) fn add(world: &World, all: &mut Vec<Vector>) {
    requests::add(world, all);
    responses::add(world, all);
}

fn wanted() -> Vec<WantedTrack> {
    ["video", "audio"]
        .map(|label| WantedTrack {
            label: label.into(),
            key_type: KeyType::CencCtr,
        })
        .to_vec()
}

/// As an input or as what is learnt: the index of the first, and the number.
fn text(periods: Periods) -> String {
    format!("{}:{}", periods.first, periods.count)
}

/// Step and words of a refusal; none for a valid message.
type Refusal<'a> = Option<(&'a str, &'a str)>;
