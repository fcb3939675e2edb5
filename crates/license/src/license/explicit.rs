//! Explicit restrictions: demands that are named by a GUID and have data of their own.

use super::{Guid, terms::Resolution};
use crate::{
    cbor_map,
    codec::{Bytes, DecodeError, Reader, Wire, Writer},
};

/// A demand on the outputs or on the decoder, named by a GUID.
///
/// The GUIDs and the byte orders of the data are those that are published; `spec/license.md` has the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExplicitRestriction {
    /// the largest frame that may be decoded. Height and width, 32 bits each, big-endian.
    MaximumDecodeResolution(Resolution),
    /// digital video needs HDCP of this type. 32 bits, big-endian.
    HdcpType(HdcpType),
    /// no analog video. 1 in 32 bits, big-endian.
    DigitalVideoOnly,
    /// analog video needs this CGMS-A signal. 8 bits.
    CgmsARequired(CopyControl),
    /// analog video gets this CGMS-A signal where it can. 8 bits.
    CgmsABestEffort(CopyControl),
    /// digital audio needs this SCMS signal. 8 bits.
    Scms(CopyControl),
    /// analog television needs this. 32 bits, little-endian.
    AgcAndColourStripe(AgcAndColourStripe),
    /// analog computer monitors get a reduced picture. 520000 in 32 bits, big-endian.
    AnalogComputerMonitor,
    /// analog component outputs get a reduced picture. 520000 in 32 bits, big-endian.
    AnalogComponent,
    /// the picture carries a watermark of this technology. Its GUID.
    Watermark(Guid),
    /// the picture stays on the built-in screen. No data.
    InternalScreenOnly,
}

/// Pixels in a frame that is reduced.
pub const REDUCED_PIXELS: u32 = 520_000;

/// Names of the restrictions, as a client announces them.
impl ExplicitRestriction {
    /// GUID of the maximum decode resolution.
    pub const MAXIMUM_DECODE_RESOLUTION: Guid = Guid::of(0x9645_e831_e01d_4fff_8342_0a72_0e3e_028f);
    /// GUID of the HDCP type.
    pub const HDCP_TYPE: Guid = Guid::of(0xabb2_c6f1_e663_4625_a945_972d_17b2_31e7);
    /// GUID of digital video only.
    pub const DIGITAL_VIDEO_ONLY: Guid = Guid::of(0x760a_e755_682a_41e0_b1b3_dcdf_836a_7306);
    /// GUID of CGMS-A, required.
    pub const CGMS_A_REQUIRED: Guid = Guid::of(0x2098_de8d_7ddd_4bab_96c6_32eb_b6fa_bea3);
    /// GUID of CGMS-A, best effort.
    pub const CGMS_A_BEST_EFFORT: Guid = Guid::of(0x225c_d36f_f132_49ef_ba8c_c91e_a28e_4369);
    /// GUID of SCMS.
    pub const SCMS: Guid = Guid::of(0x6d5c_fa59_c250_4426_930e_fac7_2c8f_cfa6);
    /// GUID of AGC and colour stripe.
    pub const AGC_AND_COLOUR_STRIPE: Guid = Guid::of(0xc3fd_11c6_f8b7_4d20_b008_1db1_7d61_f2da);
    /// GUID of the restriction of analog computer monitors.
    pub const ANALOG_COMPUTER_MONITOR: Guid = Guid::of(0xd783_a191_e083_4baf_b2da_e69f_910b_3772);
    /// GUID of the restriction of analog component outputs.
    pub const ANALOG_COMPONENT: Guid = Guid::of(0x811c_5110_46c8_4c6e_8163_c048_2a15_d47e);
    /// GUID of the watermark, this project's own.
    pub const WATERMARK: Guid = Guid::of(0x363a_16d8_4c19_4602_9889_ed46_1bee_8466);
    /// GUID of internal screen only, this project's own.
    pub const INTERNAL_SCREEN_ONLY: Guid = Guid::of(0x8b35_3362_2401_4765_8875_fb41_fd57_b61b);

    /// Every GUID of this version.
    pub const ALL: [Guid; 11] = [
        Self::MAXIMUM_DECODE_RESOLUTION,
        Self::HDCP_TYPE,
        Self::DIGITAL_VIDEO_ONLY,
        Self::CGMS_A_REQUIRED,
        Self::CGMS_A_BEST_EFFORT,
        Self::SCMS,
        Self::AGC_AND_COLOUR_STRIPE,
        Self::ANALOG_COMPUTER_MONITOR,
        Self::ANALOG_COMPONENT,
        Self::WATERMARK,
        Self::INTERNAL_SCREEN_ONLY,
    ];

    /// V-030: the restriction of a GUID with its data, in the byte order that is published for the GUID.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] for a GUID that this version does not know, and for other data than its.
    pub fn from_parts(guid: Guid, data: &[u8]) -> Result<Self, DecodeError> {
        let restriction = match guid {
            Self::MAXIMUM_DECODE_RESOLUTION => resolution(data).map(Self::MaximumDecodeResolution),
            Self::HDCP_TYPE => big_endian(data)
                .and_then(HdcpType::from_number)
                .map(Self::HdcpType),
            Self::DIGITAL_VIDEO_ONLY => (big_endian(data) == Some(1)).then_some(Self::DigitalVideoOnly),
            Self::CGMS_A_REQUIRED => copy_control(data).map(Self::CgmsARequired),
            Self::CGMS_A_BEST_EFFORT => copy_control(data).map(Self::CgmsABestEffort),
            Self::SCMS => copy_control(data).map(Self::Scms),
            Self::AGC_AND_COLOUR_STRIPE => little_endian(data)
                .and_then(AgcAndColourStripe::from_number)
                .map(Self::AgcAndColourStripe),
            Self::ANALOG_COMPUTER_MONITOR => {
                (big_endian(data) == Some(REDUCED_PIXELS)).then_some(Self::AnalogComputerMonitor)
            }
            Self::ANALOG_COMPONENT => {
                (big_endian(data) == Some(REDUCED_PIXELS)).then_some(Self::AnalogComponent)
            }
            Self::WATERMARK => data.try_into().ok().map(|name| Self::Watermark(Guid::new(name))),
            Self::INTERNAL_SCREEN_ONLY => data.is_empty().then_some(Self::InternalScreenOnly),
            _ => return Err(UNKNOWN),
        };
        restriction.ok_or(DATA)
    }

    /// Its GUID.
    #[must_use]
    pub const fn guid(&self) -> Guid {
        match self {
            Self::MaximumDecodeResolution(_) => Self::MAXIMUM_DECODE_RESOLUTION,
            Self::HdcpType(_) => Self::HDCP_TYPE,
            Self::DigitalVideoOnly => Self::DIGITAL_VIDEO_ONLY,
            Self::CgmsARequired(_) => Self::CGMS_A_REQUIRED,
            Self::CgmsABestEffort(_) => Self::CGMS_A_BEST_EFFORT,
            Self::Scms(_) => Self::SCMS,
            Self::AgcAndColourStripe(_) => Self::AGC_AND_COLOUR_STRIPE,
            Self::AnalogComputerMonitor => Self::ANALOG_COMPUTER_MONITOR,
            Self::AnalogComponent => Self::ANALOG_COMPONENT,
            Self::Watermark(_) => Self::WATERMARK,
            Self::InternalScreenOnly => Self::INTERNAL_SCREEN_ONLY,
        }
    }

    /// Its data, in the byte order that is published for its GUID.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        match self {
            Self::MaximumDecodeResolution(Resolution { width, height }) => {
                [height.to_be_bytes(), width.to_be_bytes()].concat()
            }
            Self::HdcpType(hdcp) => u32::from(hdcp.number()).to_be_bytes().to_vec(),
            Self::DigitalVideoOnly => 1_u32.to_be_bytes().to_vec(),
            Self::CgmsARequired(control) | Self::CgmsABestEffort(control) | Self::Scms(control) => {
                vec![control.number()]
            }
            Self::AgcAndColourStripe(agc) => u32::from(agc.number()).to_le_bytes().to_vec(),
            Self::AnalogComputerMonitor | Self::AnalogComponent => REDUCED_PIXELS.to_be_bytes().to_vec(),
            Self::Watermark(technology) => technology.as_bytes().to_vec(),
            Self::InternalScreenOnly => Vec::new(),
        }
    }
}

impl Wire for ExplicitRestriction {
    fn write(&self, writer: &mut Writer) {
        Parts {
            guid: self.guid(),
            data: Bytes(self.data()),
        }
        .write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let parts = Parts::read(reader)?;
        Self::from_parts(parts.guid, &parts.data.0)
    }
}

/// Which content HDCP's stream may carry on: type 1 stays on HDCP 2.2 and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HdcpType {
    /// Any HDCP.
    Type0,
    /// HDCP 2.2 or later with stream type 1.
    Type1,
}

impl HdcpType {
    /// 0 or 1.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Type0 => 0,
            Self::Type1 => 1,
        }
    }

    /// The type of a number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Type0),
            1 => Some(Self::Type1),
            _ => None,
        }
    }
}

/// What a copy control signal (CGMS-A, SCMS) permits: two bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CopyControl(u8);

impl CopyControl {
    /// No copy: the strictest signal.
    pub const NEVER: Self = Self(3);

    /// The signal of a number from 0 to 3.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        if number <= Self::NEVER.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// 0 to 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether this signal is as strict as `needed`: the same, or *copy never*.
    #[must_use]
    pub fn satisfies(self, needed: Self) -> bool {
        self == needed || self == Self::NEVER
    }
}

/// How analog television is kept from being recorded: automatic gain control and lines of colour stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AgcAndColourStripe(u8);

impl AgcAndColourStripe {
    /// Neither.
    pub const NONE: Self = Self(0);
    /// Automatic gain control and four lines of colour stripe: the strictest.
    pub const FOUR_LINES: Self = Self(3);

    /// The value of a number from 0 to 3.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        u8::try_from(number)
            .ok()
            .map(Self)
            .filter(|agc| *agc <= Self::FOUR_LINES)
    }

    /// 0 to 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

cbor_map! {
    /// An explicit restriction as it stands in a license.
    struct Parts = "explicit restriction" {
        /// Its name.
        [1] guid: Guid,
        /// As the GUID says.
        [2] data: Bytes,
    }
}

fn big_endian(data: &[u8]) -> Option<u32> {
    data.try_into().ok().map(u32::from_be_bytes)
}

fn little_endian(data: &[u8]) -> Option<u32> {
    data.try_into().ok().map(u32::from_le_bytes)
}

fn copy_control(data: &[u8]) -> Option<CopyControl> {
    match data {
        [number] => CopyControl::from_number(*number),
        _ => None,
    }
}

fn resolution(data: &[u8]) -> Option<Resolution> {
    let (height, width) = data.split_at_checked(4)?;
    let resolution = Resolution {
        width: big_endian(width)?,
        height: big_endian(height)?,
    };
    (resolution.width > 0 && resolution.height > 0).then_some(resolution)
}

/// V-030
pub(super) const UNKNOWN_RESTRICTION: &str =
    "the license holds an explicit restriction that this version does not know";
/// V-030
pub(super) const WRONG_DATA: &str = "an explicit restriction holds data that is not of its GUID";
const UNKNOWN: DecodeError = DecodeError::Invalid(UNKNOWN_RESTRICTION);
const DATA: DecodeError = DecodeError::Invalid(WRONG_DATA);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v_030_data_against_the_published_samples() {
        let hd = Resolution {
            width: 1920,
            height: 1080,
        };
        let control = |number| CopyControl::from_number(number).unwrap();
        let agc = AgcAndColourStripe::from_number(2).unwrap();
        let cases = [
            (
                ExplicitRestriction::MaximumDecodeResolution(hd),
                "0000043800000780",
            ),
            (ExplicitRestriction::HdcpType(HdcpType::Type1), "00000001"),
            (ExplicitRestriction::HdcpType(HdcpType::Type0), "00000000"),
            (ExplicitRestriction::DigitalVideoOnly, "00000001"),
            (ExplicitRestriction::CgmsARequired(control(3)), "03"),
            (ExplicitRestriction::CgmsABestEffort(control(0)), "00"),
            (ExplicitRestriction::Scms(control(2)), "02"),
            (ExplicitRestriction::AgcAndColourStripe(agc), "02000000"),
            (ExplicitRestriction::AnalogComputerMonitor, "0007ef40"),
            (ExplicitRestriction::AnalogComponent, "0007ef40"),
            (
                ExplicitRestriction::Watermark(Guid::new([9; 16])),
                "09090909090909090909090909090909",
            ),
            (ExplicitRestriction::InternalScreenOnly, ""),
        ];
        for (restriction, data) in cases {
            assert_eq!(hex::encode(restriction.data()), data, "{restriction:?}");
            let read = ExplicitRestriction::decode(&restriction.encode());
            assert_eq!(read, Ok(restriction));
            assert!(ExplicitRestriction::ALL.contains(&restriction.guid()));
        }
    }

    #[test]
    fn v_030_other_data_and_other_guids_are_refused() {
        let faults = [
            (ExplicitRestriction::MAXIMUM_DECODE_RESOLUTION, "00000438"),
            (ExplicitRestriction::MAXIMUM_DECODE_RESOLUTION, "0000000000000780"),
            (ExplicitRestriction::MAXIMUM_DECODE_RESOLUTION, "0000043800000000"),
            (
                ExplicitRestriction::MAXIMUM_DECODE_RESOLUTION,
                "000004380000078000",
            ),
            (ExplicitRestriction::HDCP_TYPE, "01000000"),
            (ExplicitRestriction::HDCP_TYPE, "00000002"),
            (ExplicitRestriction::HDCP_TYPE, "01"),
            (ExplicitRestriction::DIGITAL_VIDEO_ONLY, "00000000"),
            (ExplicitRestriction::CGMS_A_REQUIRED, "04"),
            (ExplicitRestriction::CGMS_A_REQUIRED, "00000003"),
            (ExplicitRestriction::CGMS_A_BEST_EFFORT, ""),
            (ExplicitRestriction::SCMS, "ff"),
            (ExplicitRestriction::AGC_AND_COLOUR_STRIPE, "00000002"),
            (ExplicitRestriction::AGC_AND_COLOUR_STRIPE, "04000000"),
            (ExplicitRestriction::ANALOG_COMPUTER_MONITOR, "40ef0700"),
            (ExplicitRestriction::ANALOG_COMPONENT, ""),
            (ExplicitRestriction::WATERMARK, "0909"),
            (ExplicitRestriction::INTERNAL_SCREEN_ONLY, "00000001"),
        ];
        for (guid, data) in faults {
            let read = ExplicitRestriction::from_parts(guid, &hex::decode(data).unwrap());
            assert_eq!(read, Err(DATA), "{guid} {data}");
        }
        let unknown = ExplicitRestriction::from_parts(Guid::new([1; 16]), &[]);
        assert_eq!(unknown, Err(UNKNOWN));
    }

    #[test]
    fn copy_never_satisfies_every_signal() {
        for number in 0..=3 {
            let needed = CopyControl::from_number(number).unwrap();
            assert!(CopyControl::NEVER.satisfies(needed) && needed.satisfies(needed));
            assert_eq!(needed.satisfies(CopyControl::NEVER), number == 3);
        }
        assert_eq!(CopyControl::from_number(4), None);
        assert_eq!(AgcAndColourStripe::from_number(256), None);
    }
}
