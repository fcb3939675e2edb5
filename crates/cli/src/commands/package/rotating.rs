//! An MP4 whose keys change from one crypto period to the next, asked of the license server as they are reached.

use std::time::Duration;

use getrandom::SysRng;
use keyward_content::cenc::Scheme;
use keyward_license::packaging::WantedTrack;
use keyward_packager::{
    CryptoPeriods, MediaOptions, ProtectedPeriods, Rotation, exchange::ExchangePeriods, protect_rotating,
};
use rand_core::UnwrapErr;
use serde_json::{Value, json};

use super::{
    embedded::leaf_licenses,
    media::{selectors, told},
};
use crate::{
    args::PackageArgs,
    failure::Failure,
    joined::Joined,
    output::FileSink,
    packager_dir::{Network, PackagerDir},
    report::{self, Report},
};

/// The license server names the key ids: there is nothing to register, and no leaf is embedded in the file as a whole.
pub(super) fn run(
    args: &PackageArgs,
    scheme: Scheme,
    duration: Duration,
    (input, sink): (Joined, FileSink),
    report: Report,
) -> Result<(), Failure> {
    // The command line requires both with crypto periods.
    let (Some(folder), Some(content_id)) = (&args.exchange.packager, &args.exchange.content_id) else {
        return Err(Failure::new(
            "keys of crypto periods come from the license server",
            "name the packager's folder and the content: `--packager DIR --content-id ID`",
        ));
    };
    let packager = PackagerDir::open(folder)?;
    let key_type = scheme.key_type();
    let wanted = |label: &str| WantedTrack {
        label: label.to_owned(),
        key_type,
    };
    let tracks = selectors(args).map(|(label, tracks)| (tracks, wanted(label)));
    let periods = CryptoPeriods {
        duration,
        first: args.first_period,
    };
    let (mut network, mut rng) = (Network::new(), UnwrapErr(SysRng));
    let mut source = ExchangePeriods::new(
        packager.identity(),
        content_id.clone(),
        tracks.collect(),
        &mut network,
        &mut rng,
    )
    .with_leaves();
    let base = MediaOptions::new(scheme, Vec::new());
    let options = MediaOptions {
        license_url: Some(source.license_url(periods.first)?),
        playready_pssh: args.playready_pssh,
        clear_lead: Duration::from_secs(args.clear_lead.into()),
        store_len: args.reserve,
        // No key is skipped because a fragment is longer than its period.
        fragment_duration: base.fragment_duration.min(duration),
        ..base
    };
    let rotation = Rotation {
        periods,
        source: &mut source,
    };
    let bar = report.progress(Some(input.len()));
    let made = protect_rotating(
        input,
        sink,
        &options,
        rotation,
        &mut UnwrapErr(SysRng),
        &mut |done| bar.set_position(done),
    )
    .map_err(|error| Failure::from(error).context(format!("cannot protect {}", args.file.display())))?;
    bar.finish_and_clear();

    let (mut words, mut json) = told(&made, &options);
    if let Some(periods) = &made.periods {
        words += &in_words(periods);
        json = report::with(json, [("periods", fields(periods))]);
    }
    report.result(&words, &json)
}

fn in_words(periods: &ProtectedPeriods) -> String {
    let (first, last) = (periods.first, periods.last);
    let mut words = format!("\n  these keys are of crypto period {first}; the last period is {last}");
    if periods.roots.is_empty() {
        words += "\n  the content is under no root: devices ask for the keys of each period";
    } else {
        let roots: Vec<_> = periods.roots.iter().map(ToString::to_string).collect();
        let (leaves, roots) = (leaf_licenses(periods.licenses), roots.join(", "));
        words += &format!("\n  in its fragments: {leaves}, under root {roots}");
    }
    words
}

fn fields(periods: &ProtectedPeriods) -> Value {
    json!({
        "first": periods.first,
        "last": periods.last,
        "roots": periods.roots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "leaf_licenses": periods.licenses,
    })
}
