//! Licenses that differ from another in one term, which is at least as strict.

use keyward_license::license::{ExtendedRestriction, LicenseBody, OutputProtectionLevels};

/// The license with one of [`TERMS`] made stricter as the donor has it.
pub(crate) fn stricter(term: usize, license: &LicenseBody, donor: LicenseBody) -> LicenseBody {
    let mut license = license.clone();
    TERMS[term](&mut license, donor);
    license
}

/// Every way in which a license can become stricter. A grace period and play enablers permit, so that fewer of them
/// are stricter.
pub(crate) const TERMS: [fn(&mut LicenseBody, LicenseBody); 17] = [
    //
    |license, donor| license.rights.retain(|right| donor.rights.contains(right)),
    |license, donor| {
        let kept: Vec<_> = donor
            .extended_rights
            .iter()
            .flatten()
            .map(|right| right.kind)
            .collect();
        let rights = license.extended_rights.iter_mut();
        rights.for_each(|rights| rights.retain(|right| kept.contains(&right.kind)));
    },
    //
    |license, donor| {
        license.minimum_security_level = license.minimum_security_level.max(donor.minimum_security_level);
    },
    //
    |license, donor| license.begin = license.begin.max(donor.begin),
    //
    |license, donor| license.end = license.end.into_iter().chain(donor.end).min(),
    |license, donor| license.grace_period = license.grace_period.min(donor.grace_period),
    //
    |license, donor| {
        let both = [
            license.expiration_after_first_play,
            donor.expiration_after_first_play,
        ];
        license.expiration_after_first_play = both.into_iter().flatten().min();
    },
    //
    |license, donor| {
        license.real_time_expiration = license.real_time_expiration.or(donor.real_time_expiration);
    },
    // No usage rule looks at the removal date.
    |license, donor| license.removal_date = donor.removal_date,
    //
    |license, donor| {
        license.ends_with_revocation = license.ends_with_revocation.or(donor.ends_with_revocation);
    },
    //
    |license, donor| license.source_id = license.source_id.or(donor.source_id),
    //
    |license, donor| {
        restrict(
            &mut license.extended_restrictions,
            donor.extended_restrictions.unwrap_or_default(),
        );
    },
    |license, donor| {
        let more = donor.extended_rights.into_iter().flatten();
        let more: Vec<_> = more.flat_map(|right| right.restrictions).flatten().collect();
        for right in license.extended_rights.iter_mut().flatten() {
            restrict(&mut right.restrictions, more.clone());
        }
    },
    |license, _| {
        for restriction in license.extended_restrictions.iter_mut().flatten() {
            restriction.must_understand = true;
            restriction.best_effort = false;
        }
    },
    //
    |license, donor| {
        let restrictions = license.explicit_restrictions.get_or_insert_default();
        for more in donor.explicit_restrictions.into_iter().flatten() {
            if restrictions.iter().all(|one| one.guid() != more.guid()) {
                restrictions.push(more);
            }
        }
    },
    //
    |license, donor| {
        let kept = donor.play_enablers.unwrap_or_default();
        let enablers = license.play_enablers.iter_mut();
        enablers.for_each(|enablers| enablers.retain(|enabler| kept.contains(enabler)));
    },
    //
    |license, donor| {
        let mine = license.output_protection_levels.unwrap_or_default();
        let theirs = donor.output_protection_levels.unwrap_or_default();
        license.output_protection_levels = Some(highest(mine, theirs));
    },
];

/// Adds the restrictions of other kinds.
fn restrict(restrictions: &mut Option<Vec<ExtendedRestriction>>, more: Vec<ExtendedRestriction>) {
    let restrictions = restrictions.get_or_insert_default();
    for one in more {
        if restrictions.iter().all(|other| other.kind != one.kind) {
            restrictions.push(one);
        }
    }
}

fn highest(mine: OutputProtectionLevels, theirs: OutputProtectionLevels) -> OutputProtectionLevels {
    OutputProtectionLevels {
        compressed_digital_audio: mine.compressed_digital_audio.max(theirs.compressed_digital_audio),
        uncompressed_digital_audio: mine
            .uncompressed_digital_audio
            .max(theirs.uncompressed_digital_audio),
        compressed_digital_video: mine.compressed_digital_video.max(theirs.compressed_digital_video),
        uncompressed_digital_video: mine
            .uncompressed_digital_video
            .max(theirs.uncompressed_digital_video),
        analog_video: mine.analog_video.max(theirs.analog_video),
    }
}
