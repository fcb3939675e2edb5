//! Reading a test request, in any of its forms.

use core::time::Duration;

use keyward_crypto::{
    ContentKey,
    exchange::{Algorithm, Operation},
    seed::{LicenseKeySeed, SEED_LEN},
};
use keyward_license::{
    certificate::SECURITY_LEVEL_TEST,
    error_code::ErrorCode,
    ids::TransactionId,
    license::{
        AgcAndColourStripe, ExplicitRestriction as Restriction, Guid, KeyType,
        OutputProtectionLevels as Levels, PlayEnabler,
    },
};

use super::{
    Fault, MAX_LATENCY, MAX_LENGTH, TestAnswer, TestKey, TestKeyType, TestLicense, TestPlace, TestRequest,
    TestTransaction,
    brackets::{self, Item},
    json, legacy,
    parameters::{Does, Parameter},
    values::{self, Named},
};
use crate::policy::PolicyTerms;

/// How custom data begins that is a test request.
const JSON: &[u8] = b"json=";
/// Longest time after first play, in seconds: a hundred years.
const LONGEST: u64 = 100 * 365 * 86_400;
/// Farthest shift of the server's time, in seconds: ten years.
const FARTHEST: u64 = 10 * 365 * 86_400;

impl TestRequest {
    /// Reads the query of the license server URL, or the custom data of a request. Custom data that does not begin with
    /// `json=` is the application's own; without either, everything is as it is by default.
    ///
    /// # Errors
    /// [`Fault`], of a request that is not understood. What is understood and refused stands in
    /// [`TestAnswer::refused`].
    pub fn read(query: Option<&str>, custom_data: Option<&[u8]>) -> Result<Self, Fault> {
        let query = query.filter(|query| !query.is_empty());
        let json = custom_data.and_then(|data| data.strip_prefix(JSON));
        let groups = match (query, json) {
            (None, None) => return Ok(Self::default()),
            (Some(query), None) => of_query(query)?,
            (None, Some(json)) => {
                let text = core::str::from_utf8(json).map_err(|_| Fault::Form("its JSON is not UTF-8"))?;
                json::groups(text)?
            }
            (Some(_), Some(_)) => {
                return Err(Fault::Form("it stands in the query and in the custom data"));
            }
        };
        let mut answer = TestAnswer::default();
        let licenses = groups.iter().map(|group| Group::read(group, &mut answer));
        let licenses = licenses.collect::<Result<_, _>>()?;
        Ok(Self { licenses, answer })
    }
}

fn of_query(query: &str) -> Result<Vec<Vec<Item>>, Fault> {
    if query.len() > MAX_LENGTH {
        return Err(Fault::Form("it is longer than 16384 bytes"));
    }
    // A plus is one of base64 here, and no space.
    let escaped = query.replace('+', "%2B");
    let pairs = form_urlencoded::parse(escaped.as_bytes()).into_owned();
    let mut pairs: Vec<(String, String)> = pairs.collect();
    let is_of_now = |(name, _): &(String, String)| ["cfg", "cfg64"].contains(&&name[..]);
    if !pairs.iter().any(is_of_now) {
        return Ok(vec![legacy::group(pairs)?]);
    }
    match (pairs.pop(), pairs.is_empty()) {
        (Some((name, value)), true) if name == "cfg" => brackets::groups(&value),
        (Some((_, value)), true) => {
            let json = values::decoded(&value).ok_or(Fault::Form("`cfg64` is not base64"))?;
            let text = core::str::from_utf8(json.expose());
            json::groups(text.map_err(|_| Fault::Form("its JSON is not UTF-8"))?)
        }
        _ => Err(Fault::Form("`cfg` or `cfg64` stands beside another name")),
    }
}

/// One group, as far as it was read.
struct Group<'a> {
    license: TestLicense,
    answer: &'a mut TestAnswer,
    seen: Vec<&'static str>,
    root: bool,
    key_exchange: bool,
    algorithm: Option<Algorithm>,
    operation: Option<Operation>,
    unknown_sd: bool,
    unknown_hd: bool,
}

impl<'a> Group<'a> {
    fn read(items: &[Item], answer: &'a mut TestAnswer) -> Result<TestLicense, Fault> {
        let mut group = Self {
            license: TestLicense::by_default(),
            answer,
            seen: Vec::new(),
            root: false,
            key_exchange: false,
            algorithm: None,
            operation: None,
            unknown_sd: false,
            unknown_hd: false,
        };
        for item in items {
            let name = item.name.as_deref();
            let name = name.ok_or(Fault::Form("a value has no name"))?;
            let parameter = Parameter::of(name).ok_or_else(|| Fault::Unknown(name.to_owned()))?;
            let (name, value) = (parameter.name, &item.value);
            if group.seen.contains(&name) && !REPEATED.contains(&name) {
                return Err(Fault::Twice(name));
            }
            group.seen.push(name);
            group.take(parameter, Named { name, value })?;
        }
        group.finish()
    }

    fn take(&mut self, parameter: &Parameter, named: Named<'_>) -> Result<(), Fault> {
        match parameter.does {
            Does::Works if ABOUT_THE_ANSWER.contains(&named.name) => self.take_answer(named),
            Does::Works if ABOUT_THE_KEY.contains(&named.name) => self.take_key(named),
            Does::Works => self.take_term(named),
            Does::RefusedIfSet(..) if !named.boolean()? => Ok(()),
            Does::RefusedIfSet(code, why) | Does::Refused(code, why) => {
                let name = named.name;
                self.answer
                    .refused
                    .get_or_insert(Fault::Refused { name, why, code });
                Ok(())
            }
        }
    }

    fn take_answer(&mut self, named: Named<'_>) -> Result<(), Fault> {
        let answer = &mut *self.answer;
        match named.name {
            "tid" => {
                let id = TransactionId::new(*named.guid()?.as_bytes());
                put(&mut answer.transaction, TestTransaction::Named(id), named.name)
            }
            "transaction" => match named.boolean()? {
                true => put(&mut answer.transaction, TestTransaction::Drawn, named.name),
                false => Ok(()),
            },
            "errorcode" => put(&mut answer.error, error_code(named)?, named.name),
            "revoked" => {
                answer.revoked |= named.boolean()?;
                Ok(())
            }
            "msg" => match named.text()? {
                "clientinfo" => {
                    answer.client_info = true;
                    Ok(())
                }
                _ => Err(named.wrong("`clientinfo`")),
            },
            "clock" => put(&mut answer.clock, shift(named)?, named.name),
            _ => {
                let latency = Duration::from_millis(named.number()?);
                match latency <= MAX_LATENCY {
                    true => put(&mut answer.latency, latency, named.name),
                    false => Err(named.wrong("at most 60000 milliseconds")),
                }
            }
        }
    }

    fn take_key(&mut self, named: Named<'_>) -> Result<(), Fault> {
        let license = &mut self.license;
        match named.name {
            "kid" => {
                let header = named.text()?.eq_ignore_ascii_case("header");
                license.kid = (!header).then(|| named.kid()).transpose()?;
            }
            "keyseed" | "contentkey" if !matches!(license.key, TestKey::Registered) => {
                return Err(named.wrong("given without another key"));
            }
            "keyseed" => {
                let seed = named.base64()?;
                let wrong = || named.wrong("30 bytes in base64");
                let seed: &[u8; SEED_LEN] = seed.expose().try_into().map_err(|_| wrong())?;
                license.key = TestKey::Seed(LicenseKeySeed::new(seed).map_err(|_| wrong())?);
            }
            "contentkey" => {
                let key = named.base64()?;
                let key = ContentKey::from_slice(key.expose());
                license.key = TestKey::Given(key.map_err(|_| named.wrong("16 bytes in base64"))?);
            }
            "ckt" => {
                license.key_type = content_key_type(named)?.map(TestKeyType::Content);
                self.key_exchange = license.key_type.is_none();
            }
            "isroot" => self.root = named.boolean()?,
            "rootid" => license.place = TestPlace::Leaf(named.kid()?),
            "algorithm" => self.algorithm = Some(algorithm(named)?),
            _ => {
                let operation = Operation::from_name(named.text()?);
                self.operation = Some(operation.ok_or_else(|| named.wrong("an operation of key exchange"))?);
            }
        }
        Ok(())
    }

    fn take_term(&mut self, named: Named<'_>) -> Result<(), Fault> {
        let terms = &mut self.license.terms;
        match named.name {
            "sl" => terms.minimum_security_level = named.one_of(&[150, 2000, 3000], "150, 2000 or 3000")?,
            "playright" => terms.play = named.boolean()?,
            "extendedright" => terms.extended_rights.push(named.extended_right()?),
            "persist" => terms.persistent_allowed = named.boolean()?,
            "begindate" => self.license.begin = Some(named.date()?),
            "enddate" => terms.end = Some(named.date()?),
            "firstexp" => match named.number()? {
                seconds @ 1..=LONGEST => terms.expiration_after_first_play_seconds = Some(seconds),
                _ => return Err(named.wrong("1 second to 100 years")),
            },
            "realtime" => terms.real_time_expiration = named.boolean()?,
            "removaldate" => self.license.removal = Some(named.date()?),
            "sourceid" => terms.source_id = Some(named.number()?),
            "extendedrestrictions" => terms.extended_restrictions = named.extended_restrictions()?,
            "playenablers" => {
                let enablers = named.guids()?.into_iter().map(PlayEnabler);
                terms.play_enablers.extend(enablers);
            }
            "allowunknownsd" => self.unknown_sd = named.boolean()?,
            "allowunknownhd" => self.unknown_hd = named.boolean()?,
            "explicitacp" => {
                let number = named.one_of(&[0, 1, 2, 3], "0 to 3")?;
                let number = u32::try_from(number)
                    .ok()
                    .and_then(AgcAndColourStripe::from_number);
                let acp = number.ok_or_else(|| named.wrong("0 to 3"))?;
                terms
                    .explicit_restrictions
                    .push(Restriction::AgcAndColourStripe(acp));
            }
            "maxres" => {
                let resolution = Restriction::MaximumDecodeResolution(named.resolution()?);
                terms.explicit_restrictions.push(resolution);
            }
            "dvop" | "daop" | "avop" => {
                let restriction = named.explicit_restriction(restrictions(named.name))?;
                terms.explicit_restrictions.push(restriction);
            }
            _ => return take_level(terms, named),
        }
        Ok(())
    }

    /// Puts together what several parameters say.
    fn finish(mut self) -> Result<TestLicense, Fault> {
        let wrong = |name, expected| Err(Fault::Value { name, expected });
        let mut license = self.license;
        let enablers = &mut license.terms.play_enablers;
        // Whoever may see the whole picture may see a reduced one.
        match (self.unknown_hd, self.unknown_sd) {
            (true, _) => enablers.push(PlayEnabler::UNKNOWN_OUTPUT),
            (false, true) => enablers.push(PlayEnabler::UNKNOWN_OUTPUT_REDUCED),
            (false, false) => {}
        }
        if self.key_exchange {
            let algorithm = self.algorithm.take().unwrap_or(Algorithm::A128Gcm);
            let [_, consuming] = algorithm.operations();
            let operation = self.operation.take().unwrap_or(consuming);
            if !algorithm.permits(operation) {
                return wrong("operation", "one of the algorithm's");
            }
            license.key_type = Some(TestKeyType::Exchange(algorithm, operation));
        }
        if self.algorithm.is_some() || self.operation.is_some() {
            return wrong("ckt", "`keyexchange` beside `algorithm` and `operation`");
        }
        if self.root {
            if license.place != TestPlace::Simple {
                return wrong("rootid", "of a license that is no root");
            }
            license.place = TestPlace::Root;
        }
        Ok(license)
    }
}

impl TestLicense {
    /// What a request gets that asks for nothing in particular: to play, in memory, on any device.
    pub(super) fn by_default() -> Self {
        Self {
            kid: None,
            key: TestKey::Registered,
            key_type: None,
            place: TestPlace::Simple,
            terms: PolicyTerms {
                persistent_allowed: false,
                ..PolicyTerms::of_level(SECURITY_LEVEL_TEST)
            },
            begin: None,
            removal: None,
        }
    }
}

/// Parameters that may stand several times in a group.
const REPEATED: [&str; 4] = ["extendedright", "dvop", "daop", "avop"];
/// Parameters that are about the whole answer, in whatever group they stand.
const ABOUT_THE_ANSWER: [&str; 7] = [
    "tid",
    "transaction",
    "errorcode",
    "revoked",
    "msg",
    "clock",
    "latency",
];
/// Parameters about which key it is and where the license stands.
const ABOUT_THE_KEY: [&str; 8] = [
    "kid",
    "keyseed",
    "contentkey",
    "ckt",
    "isroot",
    "rootid",
    "algorithm",
    "operation",
];

/// Takes what is about the whole answer: the same may stand in several groups.
fn put<T: PartialEq>(place: &mut Option<T>, value: T, name: &'static str) -> Result<(), Fault> {
    match place {
        Some(other) if *other != value => Err(Fault::Twice(name)),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

/// A published code in hexadecimal digits behind `0x`, or a number of the error table.
fn error_code(named: Named<'_>) -> Result<ErrorCode, Fault> {
    let text = named.text()?;
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let code = match hex {
        Some(digits) => u32::from_str_radix(digits, 16)
            .ok()
            .and_then(ErrorCode::from_published),
        None => text.parse().ok().and_then(ErrorCode::from_number),
    };
    code.ok_or_else(|| named.wrong("a published code such as 0x8004C600, or a number of the error table"))
}

/// Seconds with a sign.
fn shift(named: Named<'_>) -> Result<i64, Fault> {
    let shift = named.text()?.parse().ok();
    shift
        .filter(|shift: &i64| shift.unsigned_abs() <= FARTHEST)
        .ok_or_else(|| named.wrong("seconds with a sign, at most ten years"))
}

/// The type of a content key; `None` of key exchange.
fn content_key_type(named: Named<'_>) -> Result<Option<KeyType>, Fault> {
    match &named.text()?.to_ascii_lowercase()[..] {
        "aes128bitctr" | "aesctr" => Ok(Some(KeyType::CencCtr)),
        "aes128bitcbc" | "aescbc" => Ok(Some(KeyType::CencCbc)),
        "file" => Ok(Some(KeyType::File)),
        "keyexchange" => Ok(None),
        _ => Err(named.wrong("`aes128bitctr`, `aes128bitcbc`, `file` or `keyexchange`")),
    }
}

/// An algorithm whose key is as long as a content key.
fn algorithm(named: Named<'_>) -> Result<Algorithm, Fault> {
    let text = named.text()?;
    let fitting = [
        Algorithm::A128Gcm,
        Algorithm::A128Cbc,
        Algorithm::A128Ctr,
        Algorithm::A128Kw,
    ];
    let found = fitting
        .into_iter()
        .find(|one| one.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| named.wrong("`A128GCM`, `A128CBC`, `A128CTR` or `A128KW`, whose keys have 16 bytes"))
}

fn take_level(terms: &mut PolicyTerms, named: Named<'_>) -> Result<(), Fault> {
    let audio = "100, 150, 200, 250 or 300";
    let levels = terms.output_protection_levels.get_or_insert_default();
    let (place, scale, expected) = match named.name {
        "caopl" => (&mut levels.compressed_digital_audio, &Levels::AUDIO[..], audio),
        "ucaopl" => (&mut levels.uncompressed_digital_audio, &Levels::AUDIO[..], audio),
        "cvopl" => (
            &mut levels.compressed_digital_video,
            &Levels::COMPRESSED_DIGITAL_VIDEO[..],
            "400 or 500",
        ),
        "ucvopl" => (
            &mut levels.uncompressed_digital_video,
            &Levels::UNCOMPRESSED_DIGITAL_VIDEO[..],
            "100, 250, 270 or 300",
        ),
        _ => (
            &mut levels.analog_video,
            &Levels::ANALOG_VIDEO[..],
            "100, 150 or 200",
        ),
    };
    *place = Some(named.one_of(scale, expected)?);
    Ok(())
}

/// The restrictions that are published for digital video, digital audio and analog video.
const fn restrictions(parameter: &str) -> &'static [Guid] {
    match parameter.as_bytes() {
        b"dvop" => &[Restriction::MAXIMUM_DECODE_RESOLUTION, Restriction::HDCP_TYPE],
        b"daop" => &[Restriction::SCMS],
        _ => &[
            Restriction::DIGITAL_VIDEO_ONLY,
            Restriction::CGMS_A_REQUIRED,
            Restriction::CGMS_A_BEST_EFFORT,
            Restriction::AGC_AND_COLOUR_STRIPE,
            Restriction::ANALOG_COMPUTER_MONITOR,
            Restriction::ANALOG_COMPONENT,
        ],
    }
}
