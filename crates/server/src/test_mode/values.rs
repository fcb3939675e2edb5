//! The values of test parameters: each read strictly, each refused by the name of its parameter.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jiff::{civil::DateTime, tz::Offset};
use keyward_crypto::{SecretBytes, seed::swap_guid};
use keyward_license::{
    codec::Bytes,
    ids::Kid,
    license::{ExplicitRestriction, ExtendedRestriction, ExtendedRight, Guid, Resolution},
    time::Timestamp,
};

use super::{
    Fault,
    brackets::{Item, Value},
};

/// A value with the name of its parameter.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) name: &'static str,
    pub(super) value: &'a Value,
}

impl<'a> Named<'a> {
    /// The value is not one of the parameter's.
    pub(super) fn wrong(self, expected: &'static str) -> Fault {
        Fault::Value {
            name: self.name,
            expected,
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Fault> {
        match self.value {
            Value::Text(text) => Ok(text),
            Value::Group(_) => Err(self.wrong("a text without brackets")),
        }
    }

    fn group(self, expected: &'static str) -> Result<&'a [Item], Fault> {
        match self.value {
            Value::Group(items) => Ok(items),
            Value::Text(_) => Err(self.wrong(expected)),
        }
    }

    pub(super) fn boolean(self) -> Result<bool, Fault> {
        match self.text()? {
            text if text.eq_ignore_ascii_case("true") => Ok(true),
            text if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.wrong("`true` or `false`")),
        }
    }

    /// Digits alone, without a sign.
    pub(super) fn number(self) -> Result<u64, Fault> {
        let text = self.text()?;
        let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.wrong("a number"))
    }

    /// A number that is one of a scale.
    pub(super) fn one_of(self, scale: &[u64], expected: &'static str) -> Result<u64, Fault> {
        let number = self.number()?;
        match scale.contains(&number) {
            true => Ok(number),
            false => Err(self.wrong(expected)),
        }
    }

    /// `yyyymmdd` or `yyyymmddhhmmss`, UTC.
    pub(super) fn date(self) -> Result<Timestamp, Fault> {
        let wrong = || self.wrong("a date `yyyymmdd` or `yyyymmddhhmmss` since 1970");
        let text = self.text()?;
        let full = match text.len() {
            8 => format!("{text}000000"),
            14 => text.to_owned(),
            _ => return Err(wrong()),
        };
        if !full.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let civil = DateTime::strptime("%Y%m%d%H%M%S", full).map_err(|_| wrong())?;
        let instant = Offset::UTC.to_timestamp(civil).map_err(|_| wrong())?;
        let seconds = u64::try_from(instant.as_second()).map_err(|_| wrong())?;
        Ok(Timestamp(seconds))
    }

    pub(super) fn guid(self) -> Result<Guid, Fault> {
        let guid = self.text()?.parse();
        guid.map_err(|_| self.wrong("a GUID"))
    }

    /// A GUID, or its 16 bytes in GUID form (the first three fields little-endian) in base64.
    pub(super) fn kid(self) -> Result<Kid, Fault> {
        let text = self.text()?;
        if let Ok(guid) = text.parse::<Guid>() {
            return Ok(Kid::new(*guid.as_bytes()));
        }
        let bytes: Option<[u8; 16]> = decoded(text).and_then(|bytes| bytes.expose().try_into().ok());
        let bytes = bytes.ok_or_else(|| self.wrong("a GUID, or the base64 of its 16 bytes"))?;
        Ok(Kid::new(swap_guid(&bytes)))
    }

    pub(super) fn base64(self) -> Result<SecretBytes, Fault> {
        decoded(self.text()?).ok_or_else(|| self.wrong("base64"))
    }

    /// `WxH`, in pixels.
    pub(super) fn resolution(self) -> Result<Resolution, Fault> {
        let (width, height) = self.text()?.split_once(['x', 'X']).unwrap_or_default();
        match (width.parse(), height.parse()) {
            (Ok(width @ 1..), Ok(height @ 1..)) => Ok(Resolution { width, height }),
            _ => Err(self.wrong("`WxH`, each at least one pixel")),
        }
    }

    /// `(guid:G,data:D)`, of one of these GUIDs.
    pub(super) fn explicit_restriction(self, known: &[Guid]) -> Result<ExplicitRestriction, Fault> {
        let fields = Fields::of(self, "`(guid:GUID,data:BASE64)`")?;
        let guid = fields.required("guid")?.guid()?;
        let data = match fields.optional("data") {
            Some(data) => data.base64()?,
            None => SecretBytes::new(Vec::new()),
        };
        fields.are_no_more(&["guid", "data"])?;
        if !known.contains(&guid) {
            return Err(self.wrong("a restriction of this kind that is published"));
        }
        ExplicitRestriction::from_parts(guid, data.expose())
            .map_err(|_| self.wrong("data as it is published for the GUID"))
    }

    /// `((type:T,mustunderstand:B,besteffort:B,data:D),…)`.
    pub(super) fn extended_restrictions(self) -> Result<Vec<ExtendedRestriction>, Fault> {
        let form = "a list `((type:NUMBER,mustunderstand:BOOL,besteffort:BOOL,data:BASE64),…)`";
        let of_one = |item: &'a Item| match item.name {
            None => Self {
                name: self.name,
                value: &item.value,
            }
            .extended_restriction(form),
            Some(_) => Err(self.wrong(form)),
        };
        let items = self.group(form)?;
        match items.is_empty() {
            true => Err(self.wrong(form)),
            false => items.iter().map(of_one).collect(),
        }
    }

    fn extended_restriction(self, form: &'static str) -> Result<ExtendedRestriction, Fault> {
        let fields = Fields::of(self, form)?;
        fields.are_no_more(&["type", "mustunderstand", "besteffort", "data"])?;
        let flag = |name| fields.optional(name).map_or(Ok(false), Named::boolean);
        Ok(ExtendedRestriction {
            kind: fields.required("type")?.number()?,
            must_understand: flag("mustunderstand")?,
            best_effort: flag("besteffort")?,
            data: match fields.optional("data") {
                Some(data) => Bytes(data.base64()?.expose().to_vec()),
                None => Bytes(Vec::new()),
            },
        })
    }

    /// `(type:T,extended:(…))`.
    pub(super) fn extended_right(self) -> Result<ExtendedRight, Fault> {
        let fields = Fields::of(self, "`(type:NUMBER,extended:LIST)`")?;
        fields.are_no_more(&["type", "extended"])?;
        let restrictions = fields.optional("extended").map(Named::extended_restrictions);
        Ok(ExtendedRight {
            kind: fields.required("type")?.number()?,
            restrictions: restrictions.transpose()?,
        })
    }

    /// `(GUID,…)`.
    pub(super) fn guids(self) -> Result<Vec<Guid>, Fault> {
        let form = "a list `(GUID,…)`";
        let of_one = |item: &'a Item| match item.name {
            None => Self {
                name: self.name,
                value: &item.value,
            }
            .guid(),
            Some(_) => Err(self.wrong(form)),
        };
        self.group(form)?.iter().map(of_one).collect()
    }
}

/// The named values of a structured value.
#[derive(Clone, Copy)]
struct Fields<'a> {
    of: Named<'a>,
    items: &'a [Item],
    form: &'static str,
}

impl<'a> Fields<'a> {
    fn of(of: Named<'a>, form: &'static str) -> Result<Self, Fault> {
        Ok(Self {
            of,
            items: of.group(form)?,
            form,
        })
    }

    /// The value of a field. What is wrong with it is told of the parameter.
    fn optional(&self, name: &str) -> Option<Named<'a>> {
        let named = |item: &&Item| {
            item.name
                .as_deref()
                .is_some_and(|found| found.eq_ignore_ascii_case(name))
        };
        let item = self.items.iter().find(named)?;
        Some(Named {
            name: self.of.name,
            value: &item.value,
        })
    }

    fn required(&self, name: &str) -> Result<Named<'a>, Fault> {
        self.optional(name).ok_or_else(|| self.of.wrong(self.form))
    }

    /// Nothing has another name, none, or one twice.
    fn are_no_more(&self, names: &[&str]) -> Result<(), Fault> {
        let known = |item: &Item| {
            let name = item.name.as_deref().unwrap_or_default();
            names.iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        let once = |name: &&&str| {
            let same = |item: &&Item| {
                item.name
                    .as_deref()
                    .is_some_and(|found| found.eq_ignore_ascii_case(name))
            };
            self.items.iter().filter(same).count() <= 1
        };
        match self.items.iter().all(known) && names.iter().filter(|name| !once(name)).count() == 0 {
            true => Ok(()),
            false => Err(self.of.wrong(self.form)),
        }
    }
}

/// Base64 (RFC 4648 §4) as it is found: with padding or without, and with bits behind the last byte.
pub(super) fn decoded(text: &str) -> Option<SecretBytes> {
    const FOUND: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    FOUND.decode(text).ok().map(SecretBytes::new)
}

#[cfg(test)]
mod tests {
    use super::{super::brackets, *};

    /// Reads a value that lives as long as the test.
    fn read<T>(text: &str, read: impl Fn(Named<'static>) -> Result<T, Fault>) -> Result<T, String> {
        let value = Box::leak(Box::new(brackets::value(text).unwrap()));
        read(Named { name: "p", value }).map_err(|fault| fault.to_string())
    }

    #[test]
    fn dates_are_of_the_calendar() {
        for (text, seconds) in [
            ("19700101", 0),
            ("20170101", 1_483_228_800),
            ("20170131235959", 1_485_907_199),
            ("20240229", 1_709_164_800),
        ] {
            assert_eq!(read(text, Named::date), Ok(Timestamp(seconds)), "{text}");
        }
        for text in [
            "2017",
            "20170229",
            "20171301",
            "20170101240000",
            "201701012",
            "19691231",
            "+2017010",
            "2017-101",
            "(20170101)",
        ] {
            assert!(read(text, Named::date).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_id_is_a_guid_in_either_form() {
        let kid: Kid = "e13a7861d8cc428492457c835ebde9f0".parse().unwrap();
        for text in [
            "e13a7861-d8cc-4284-9245-7c835ebde9f0",
            "E13A7861D8CC428492457C835EBDE9F0",
            "YXg64czYhEKSRXyDXr3p8A==",
            "YXg64czYhEKSRXyDXr3p8A",
        ] {
            assert_eq!(read(text, Named::kid), Ok(kid), "{text}");
        }
        for text in ["header", "e13a7861", "YXg64czYhEKSRXyDXr3p8AAA"] {
            assert!(read(text, Named::kid).is_err(), "{text}");
        }
    }

    #[test]
    fn structures_are_read_whole_or_refused_by_the_parameters_name() {
        let sample = "((type:400,mustunderstand:true,besteffort:false,data:Ah==),(type:401))";
        let restrictions = read(sample, Named::extended_restrictions).unwrap();
        assert_eq!(
            (
                restrictions[0].kind,
                restrictions[0].must_understand,
                &restrictions[0].data.0[..]
            ),
            (400, true, &[2][..])
        );
        assert_eq!(restrictions.len(), 2);
        let right = format!("(type:500,extended:{sample})");
        assert_eq!(
            read(&right, Named::extended_right).unwrap().restrictions(),
            restrictions
        );
        for text in [
            "400",
            "()",
            "(type:400)",
            "((type:400,type:401))",
            "((kind:400))",
            "((type:x))",
            "((type:400,data:%))",
            "((mustunderstand:true))",
            "(a:(type:400))",
        ] {
            let fault = read(text, Named::extended_restrictions).unwrap_err();
            assert!(fault.contains("`p`"), "{text}: {fault}");
        }
        let known = [ExplicitRestriction::HDCP_TYPE];
        let hdcp = |text: &str| read(text, |named| named.explicit_restriction(&known));
        hdcp("(guid:ABB2C6F1-E663-4625-A945-972D17B231E7,data:AAAAAQ==)").unwrap();
        for text in [
            "(guid:ABB2C6F1-E663-4625-A945-972D17B231E7,data:AAAAAg==)",
            "(guid:ABB2C6F1-E663-4625-A945-972D17B231E7)",
            "(guid:6D5CFA59-C250-4426-930E-FAC72C8FCFA6,data:Aw==)",
            "(data:AAAAAQ==)",
            "x",
        ] {
            assert!(hdcp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_numbers_have_no_signs() {
        let hd = Resolution {
            width: 1920,
            height: 1080,
        };
        assert_eq!(read("1920x1080", Named::resolution), Ok(hd));
        for text in ["1920", "0x1080", "1920x", "x1080", "-1x1", "1x1x1"] {
            assert!(read(text, Named::resolution).is_err(), "{text}");
        }
        assert_eq!(read("60", Named::number), Ok(60));
        for text in ["+60", "-60", "6e1", "18446744073709551616", "(60)"] {
            assert!(read(text, Named::number).is_err(), "{text}");
        }
    }
}
