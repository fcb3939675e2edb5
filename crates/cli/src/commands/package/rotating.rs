//! An MP4 whose keys change from one crypto period to the next, asked of the license server as they are reached.

use std::{path::Path, time::Duration};

use getrandom::SysRng;
use keyward_content::cenc::Scheme;
use keyward_license::packaging::WantedTrack;
use keyward_packager::{
    CryptoPeriods, MediaOptions, OutputSink, ProtectedMedia, ProtectedPeriods, Rotation, TrackSelector,
    exchange::ExchangePeriods,
};
use rand_core::UnwrapErr;
use serde_json::{Value, json};

use super::{
    embedded::leaf_licenses,
    media::{described, selectors},
    pipe::Input,
};
use crate::{
    args::PackageArgs,
    failure::Failure,
    output::FileSink,
    packager_dir::{Network, PackagerDir},
    report::{self, Report},
};

/// The license server names the key ids: there is nothing to register, and no leaf is embedded in the file as a whole.
pub(super) fn run(
    args: &PackageArgs,
    scheme: Scheme,
    duration: Duration,
    (input, sink): (Input, FileSink),
    report: Report,
) -> Result<(), Failure> {
    let server = Periods::of(args, scheme, duration, report)?;
    let tracks = selectors(args).map(|(label, tracks)| (tracks, label.to_owned()));
    let (made, options) = server.protect(&args.file, (input, sink), tracks.collect(), report)?;
    let (words, json) = told(&made, &made.output, &options);
    report.result_beside(&made.output, &words, &json)
}

/// Whoever has the keys of the crypto periods.
pub(super) struct Periods<'a> {
    args: &'a PackageArgs,
    scheme: Scheme,
    duration: Duration,
    packager: PackagerDir,
    content_id: &'a str,
}

impl<'a> Periods<'a> {
    pub(super) fn of(
        args: &'a PackageArgs,
        scheme: Scheme,
        duration: Duration,
        report: Report,
    ) -> Result<Self, Failure> {
        // The command line requires both with crypto periods.
        let (Some(folder), Some(content_id)) = (&args.exchange.packager, &args.exchange.content_id) else {
            return Err(Failure::new(
                "keys of crypto periods come from the license server",
                "name the packager's folder and the content: `--packager DIR --content-id ID`",
            ));
        };
        Ok(Self {
            args,
            scheme,
            duration,
            packager: PackagerDir::open(folder, report)?,
            content_id,
        })
    }

    /// Protects one file, whose tracks have keys of these labels.
    pub(super) fn protect<S: OutputSink>(
        &self,
        name: &Path,
        (input, sink): (Input, S),
        tracks: Vec<(TrackSelector, String)>,
        report: Report,
    ) -> Result<(ProtectedMedia<S::Output>, MediaOptions), Failure> {
        let (args, key_type) = (self.args, self.scheme.key_type());
        let tracks = tracks.into_iter().map(|(tracks, label)| {
            let wanted = WantedTrack { label, key_type };
            (tracks, wanted)
        });
        let periods = CryptoPeriods {
            duration: self.duration,
            first: args.first_period,
        };
        let (mut network, mut rng) = (Network::new(), UnwrapErr(SysRng));
        let mut source = ExchangePeriods::new(
            self.packager.identity(),
            self.content_id.to_owned(),
            tracks.collect(),
            &mut network,
            &mut rng,
        )
        .with_leaves();
        let base = MediaOptions::new(self.scheme, Vec::new());
        let options = MediaOptions {
            license_url: Some(source.license_url(periods.first)?),
            playready_pssh: args.playready_pssh,
            clear_lead: Duration::from_secs(args.clear_lead.into()),
            pattern: args.pattern(),
            store_len: args.reserve,
            // No key is skipped because a fragment is longer than its period.
            fragment_duration: base.fragment_duration.min(self.duration),
            ..base
        };
        let rotation = Rotation {
            periods,
            source: &mut source,
        };
        let made = input.protect(name, sink, &options, Some(rotation), report)?;
        Ok((made, options))
    }
}

/// What was made, in words and as JSON.
pub(super) fn told<T>(made: &ProtectedMedia<T>, output: &Path, options: &MediaOptions) -> (String, Value) {
    let (mut words, mut json) = described(made, output, options);
    if let Some(periods) = &made.periods {
        words += &in_words(periods);
        json = report::with(json, [("periods", fields(periods))]);
    }
    (words, json)
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
