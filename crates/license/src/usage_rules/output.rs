//! Outputs, as a host describes them.

use crate::license::{AgcAndColourStripe, CopyControl, HdcpType, PlayEnabler, Resolution};

/// One way by which content leaves the client, as the host describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// What it is plugged into. It decides nothing and is for people.
    pub connector: Connector,
    /// What leaves by it.
    pub kind: OutputKind,
    /// Size of the picture that it shows, if it is known.
    pub picture: Option<Resolution>,
    /// Whether the host can reduce the picture to [`REDUCED_PIXELS`](crate::license::REDUCED_PIXELS).
    pub can_reduce: bool,
    /// HDCP as it is now.
    pub hdcp: Hdcp,
    /// The CGMS-A signal that it carries now.
    pub cgms_a: Option<CopyControl>,
    /// The SCMS signal that it carries now.
    pub scms: Option<CopyControl>,
    /// AGC and colour stripe as they are now.
    pub agc: AgcAndColourStripe,
}

impl Output {
    /// An output without any protection, of which nothing else is known.
    #[must_use]
    pub const fn bare(connector: Connector, kind: OutputKind) -> Self {
        Self {
            connector,
            kind,
            picture: None,
            can_reduce: false,
            hdcp: Hdcp::Off,
            cgms_a: None,
            scms: None,
            agc: AgcAndColourStripe::NONE,
        }
    }
}

/// What leaves by an output. USB audio counts as analog audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// A screen or speaker inside the device.
    BuiltIn,
    /// An uncompressed digital picture.
    UncompressedDigitalVideo,
    /// A decrypted picture that is still compressed.
    CompressedDigitalVideo,
    /// An analog television signal.
    AnalogTelevision,
    /// An analog component signal.
    AnalogComponent,
    /// An analog signal for a computer monitor.
    AnalogComputerMonitor,
    /// Uncompressed digital sound.
    UncompressedDigitalAudio,
    /// Decrypted sound that is still compressed.
    CompressedDigitalAudio,
    /// Analog sound, and USB.
    AnalogAudio,
    /// Hands content to another protection system, which a play enabler names.
    Export(PlayEnabler),
    /// The host does not know what it is.
    Unknown,
}

impl OutputKind {
    pub(super) const fn is_analog_picture(self) -> bool {
        matches!(
            self,
            Self::AnalogTelevision | Self::AnalogComponent | Self::AnalogComputerMonitor
        )
    }

    pub(super) const fn is_picture(self) -> bool {
        self.is_analog_picture()
            || matches!(
                self,
                Self::UncompressedDigitalVideo
                    | Self::CompressedDigitalVideo
                    | Self::Export(_)
                    | Self::Unknown
            )
    }
}

/// What an output is plugged into, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Connector {
    /// Inside the device.
    Internal,
    /// HDMI.
    Hdmi,
    /// DisplayPort.
    DisplayPort,
    /// DVI.
    Dvi,
    /// MHL.
    Mhl,
    /// VGA.
    Vga,
    /// Component video.
    Component,
    /// Composite video.
    Composite,
    /// S-Video.
    SVideo,
    /// S/PDIF.
    Spdif,
    /// An audio jack.
    AudioJack,
    /// USB.
    Usb,
    /// A network.
    Network,
    /// Another, or not known.
    Other,
}

/// HDCP on an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hdcp {
    /// Not engaged.
    Off,
    /// Engaged.
    Engaged {
        /// The version that the whole link speaks.
        version: HdcpVersion,
        /// The type that the stream is sent with.
        stream_type: HdcpType,
    },
}

/// A version of HDCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HdcpVersion {
    /// Before the point.
    pub major: u8,
    /// After the point.
    pub minor: u8,
}

impl HdcpVersion {
    /// The first version that keeps a stream of type 1 from earlier ones.
    pub const V2_2: Self = Self { major: 2, minor: 2 };
}

impl Hdcp {
    pub(super) const fn is_engaged(self) -> bool {
        matches!(self, Self::Engaged { .. })
    }

    pub(super) fn satisfies(self, needed: HdcpType) -> bool {
        match (needed, self) {
            (_, Self::Off) => false,
            (HdcpType::Type0, Self::Engaged { .. }) => true,
            (HdcpType::Type1, Self::Engaged { version, stream_type }) => {
                version >= HdcpVersion::V2_2 && stream_type == HdcpType::Type1
            }
        }
    }
}
