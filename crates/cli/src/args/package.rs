//! What `keyward package` takes.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use keyward_content::cenc::{Pattern, Scheme};
use keyward_license::{ids::Kid, license::KeyType};
use keyward_packager::TrackKind;

use super::{OperatorDir, packager::ExchangeArgs, root::crypto_period};

#[derive(Args)]
pub(crate) struct PackageArgs {
    /// The file to protect; `-` is standard input. Of that, an MP4 in fragments is protected as it comes. A
    /// progressive MP4, whose parts are read out of order, is first kept in a private file without a name
    /// beside the output (or in the folder for temporary files)
    pub(crate) file: PathBuf,
    /// Media segments, in their order, where FILE is their initialisation segment. Together they become one
    /// protected file. With `--key-per-quality`: other files of the same content
    #[arg(value_name = "SEGMENT")]
    pub(crate) segments: Vec<PathBuf>,
    /// The protected file; `-` is standard output, to which media goes when all of it is protected
    /// [default: FILE with `.kw` added, and `.protected` before the extension for media].
    /// With `--key-per-quality` and several files: the folder for all of them
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// How to protect: common encryption of an MP4's samples, or a file of any kind as a whole
    /// [default: `cenc` for an MP4 with video or audio, else `file`]
    #[arg(long, value_enum)]
    pub(crate) scheme: Option<Protection>,
    /// Pattern of video in `cbcs` and `cens`: so many blocks encrypted, and so many clear behind them [default: 1:9].
    /// `10:0` and `0:0` encrypt every block; many players read 1:9 alone. Audio and VP8 have none
    #[arg(long, value_name = "CRYPT:SKIP", value_parser = pattern)]
    pub(crate) pattern: Option<Pattern>,
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    #[command(flatten)]
    pub(crate) exchange: ExchangeArgs,
    /// Derive the key from this seed file instead of asking the operator's folder
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) seed_file: Option<PathBuf>,
    /// Use this content key, 32 hexadecimal digits read from a file. The license server must know it too
    #[arg(long = "key-file", value_name = "FILE", requires = "kid")]
    pub(crate) key: Option<PathBuf>,
    /// Key id [default: a fresh random one]
    #[arg(long)]
    pub(crate) kid: Option<Kid>,
    /// A key of its own for the video and one for the audio, with fresh key ids
    #[arg(long, conflicts_with_all = ["kid", "track_key"])]
    pub(crate) key_per_kind: bool,
    /// A key of its own for each quality, with fresh key ids: sound, and pictures of up to 576 (SD), 1080 (HD) and
    /// 2160 (UHD1) lines and of more (UHD2). Lines are the shorter side; the longer one is at most 1024, 2048
    /// and 4096. The files are packaged together, and each names the keys of all. The keys' labels are AUDIO, SD,
    /// HD, UHD1 and UHD2
    #[arg(long, conflicts_with_all = ["kid", "track_key", "key_per_kind", "label"])]
    pub(crate) key_per_quality: bool,
    /// The key id of the video or audio tracks, and the file of their content key if it is not to come
    /// from where the others come from; once for each kind
    #[arg(long, value_name = "video|audio=KID[:FILE]", conflicts_with_all = ["kid"])]
    pub(crate) track_key: Vec<TrackKey>,
    /// Draw a random key into the operator's vault instead of deriving it from the seed
    #[arg(long, conflicts_with_all = ["seed_file", "key"])]
    pub(crate) vault_key: bool,
    /// License server URL for the content header [default: the operator's]
    #[arg(long, value_name = "URL")]
    pub(crate) license_url: Option<String>,
    /// Media type to write into the header of a file that is not protected as media
    #[arg(long, value_name = "TYPE")]
    pub(crate) media_type: Option<String>,
    /// Write the content header under the PlayReady system id as well. PlayReady devices will call the
    /// license server URL, which is none of theirs
    #[arg(long)]
    pub(crate) playready_pssh: bool,
    /// Leave the beginning of media clear for this many seconds, so that it plays without a license
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) clear_lead: u32,
    /// Change the keys of media each time this long a crypto period has passed, as in `2s`. What is under roots gets
    /// its leaf licenses into the fragments that need them
    #[arg(long, value_name = "DURATION", value_parser = crypto_period, requires = "packager")]
    pub(crate) crypto_period: Option<Duration>,
    /// Index of the crypto period at time 0 of the media
    #[arg(long, value_name = "INDEX", default_value_t = 0, requires = "crypto_period")]
    pub(crate) first_period: u64,
    /// Reserve room for licenses that are embedded later
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) reserve: u32,
    /// Ask for leaf licenses and embed them: whoever has a root's license needs no other. Reserves the room that they
    /// need, if `--reserve` does not
    #[arg(long, requires = "packager", conflicts_with = "crypto_period")]
    pub(crate) leaves: bool,
    /// Replace an existing protected file
    #[arg(long)]
    pub(crate) force: bool,
}

impl PackageArgs {
    /// The pattern of video, in schemes that have one.
    pub(crate) fn pattern(&self) -> Pattern {
        self.pattern.unwrap_or(Pattern::VIDEO)
    }
}

/// How something is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protection {
    /// MP4 with AES-CTR (ISO/IEC 23001-7)
    Cenc,
    /// MP4 with patterns of AES-CTR, which few players read
    Cens,
    /// MP4 with AES-CBC, which few players read
    Cbc1,
    /// MP4 with patterns of AES-CBC (ISO/IEC 23001-7)
    Cbcs,
    /// A file of any kind, authenticated
    File,
}

impl Protection {
    /// The protection scheme, for media.
    pub(crate) const fn scheme(self) -> Option<Scheme> {
        match self {
            Self::Cenc => Some(Scheme::Cenc),
            Self::Cens => Some(Scheme::Cens),
            Self::Cbc1 => Some(Scheme::Cbc1),
            Self::Cbcs => Some(Scheme::Cbcs),
            Self::File => None,
        }
    }

    /// What its keys are registered for.
    pub(crate) fn key_type(self) -> KeyType {
        self.scheme().map_or(KeyType::File, Scheme::key_type)
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    let numbers = text.split_once(':').and_then(|(crypt, skip)| {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u8>().ok().filter(|_| digits)
        };
        Some((number(crypt)?, number(skip)?))
    });
    let (crypt, skip) = numbers.ok_or("expected two numbers of blocks, as in `1:9`")?;
    Pattern::new(crypt, skip).map_err(|error| error.to_string())
}

/// The key of one kind of track.
#[derive(Debug, Clone)]
pub(crate) struct TrackKey {
    /// Video or audio.
    pub(crate) kind: TrackKind,
    /// Its key id.
    pub(crate) kid: Kid,
    /// Where its content key is, if it is given.
    pub(crate) key_file: Option<PathBuf>,
}

impl FromStr for TrackKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected `video=KID`, `audio=KID` or either with `:FILE` added";
        let (kind, rest) = text.split_once('=').ok_or(EXPECTED)?;
        let (kid, key_file) = match rest.split_once(':') {
            Some((kid, file)) => (kid, Some(PathBuf::from(file))),
            None => (rest, None),
        };
        let kind = match kind {
            "video" => TrackKind::Video,
            "audio" => TrackKind::Audio,
            _ => return Err(EXPECTED),
        };
        let kid = kid
            .parse()
            .map_err(|_| "the key id is not 32 hexadecimal digits")?;
        Ok(Self { kind, kid, key_file })
    }
}
