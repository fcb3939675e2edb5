//! The tables of the spec hold the numbers and names of the code.

use keyward_crypto::{
    hpke::Suite,
    x509::{ARC, Role},
};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, Receipt},
    codec::{FIRST_GREASE_KEY, FIRST_OPTIONAL_KEY, gate::MAX_DEPTH},
    discovery::{Discovery, WELL_KNOWN_PATH, media_type},
    enrolment::{EnrolmentRequest, EnrolmentResponse, SHARE_CONTEXT},
    license::{
        ExplicitRestriction, KEY_CONTEXT, LicenseBody, LicenseKind, MAX_CONTEXT, MAX_EXCHANGE_KEYS,
        MAX_EXPLICIT_RESTRICTIONS, MAX_EXTENDED_DATA, MAX_EXTENDED_RESTRICTIONS, MAX_EXTENDED_RIGHTS,
        MAX_PLAY_ENABLERS, MAX_USES, OutputProtectionLevels, PlayEnabler,
    },
    packaging::{KEYS_CONTEXT, MAX_CONTENT_ID, MAX_LABEL, MAX_TRACKS, PackagingRequest, PackagingResponse},
    request::{LicenseRequest, MAX_CLIENT_TEXT, MAX_CUSTOM_DATA, MAX_HEADERS, MAX_KIDS, MAX_TOKEN},
    response::{LicenseResponse, MAX_RESULTS},
    revocation::{
        DeviceRevocationList, ListBounds, MAX_ALLOWED, MAX_LIST_ID, MAX_LISTS_HELD, MAX_LISTS_IN_FILE,
        MAX_PATH, MAX_PUSHED, MAX_REVOKED, MAX_TEXT,
    },
    signed::SignedBody,
    usage_rules::Rule,
};

const OVERVIEW: &str = include_str!("../../../spec/overview.md");
const PROTOCOL: &str = include_str!("../../../spec/protocol.md");
const LICENSE: &str = include_str!("../../../spec/license.md");
const RULES: &str = include_str!("../../../spec/rules.md");
const CDDL: &str = include_str!("../../../spec/messages.cddl");

#[test]
fn media_types_and_context_strings() {
    fn row<T: SignedBody>(name: &str) -> String {
        format!("| {name} | `{}` | `{}` |", T::MEDIA_TYPE, T::CONTEXT)
    }
    let rows = [
        row::<LicenseBody>("license"),
        row::<LicenseRequest>("license request"),
        row::<LicenseResponse>("license response"),
        row::<EnrolmentRequest>("enrolment request"),
        row::<EnrolmentResponse>("enrolment response"),
        row::<Discovery>("discovery document"),
        row::<PackagingRequest>("packaging request"),
        row::<PackagingResponse>("packaging response"),
        row::<AcknowledgeRequest>("acknowledge request"),
        row::<Receipt>("receipt"),
        row::<DeviceRevocationList>("device revocation list"),
    ];
    assert_eq!(
        table(OVERVIEW, "| message | media type in `typ` | context string |"),
        rows
    );
    for context in [KEY_CONTEXT, SHARE_CONTEXT, KEYS_CONTEXT] {
        assert!(OVERVIEW.contains(&format!("`{context}`")), "{context}");
    }
    let http = [
        format!("| `GET {WELL_KNOWN_PATH}` | none | `{}` |", media_type::DISCOVERY),
        format!(
            "| `POST` license path | `{}` | `{}` |",
            media_type::LICENSE_REQUEST,
            media_type::LICENSE_RESPONSE
        ),
        format!(
            "| `POST` enrolment path | `{}` | `{}` |",
            media_type::ENROLMENT_REQUEST,
            media_type::ENROLMENT_RESPONSE
        ),
        format!(
            "| `POST` packaging path | `{}` | `{}` |",
            media_type::PACKAGING_REQUEST,
            media_type::PACKAGING_RESPONSE
        ),
        format!(
            "| `POST` acknowledgement path | `{}` | `{}` |",
            media_type::ACKNOWLEDGE_REQUEST,
            media_type::RECEIPT
        ),
    ];
    assert_eq!(table(PROTOCOL, "| request | body | answer |"), http);
    assert!(PROTOCOL.contains(media_type::PROBLEM));
    assert!(PROTOCOL.contains(media_type::REVOCATION_LISTS));
}

#[test]
fn no_string_serves_two_messages() {
    let contexts = [
        LicenseBody::CONTEXT,
        LicenseRequest::CONTEXT,
        LicenseResponse::CONTEXT,
        EnrolmentRequest::CONTEXT,
        EnrolmentResponse::CONTEXT,
        Discovery::CONTEXT,
        PackagingRequest::CONTEXT,
        PackagingResponse::CONTEXT,
        AcknowledgeRequest::CONTEXT,
        Receipt::CONTEXT,
        DeviceRevocationList::CONTEXT,
        KEY_CONTEXT,
        SHARE_CONTEXT,
        KEYS_CONTEXT,
    ];
    let distinct: std::collections::BTreeSet<_> = contexts.iter().collect();
    assert_eq!(distinct.len(), contexts.len());
}

#[test]
fn suites() {
    let head = "| suite | KEM | KEM id | public key | encapsulated key | private key | from |";
    let rows = table(OVERVIEW, head);
    assert_eq!(rows.len(), Suite::ALL.len());
    for (row, suite) in rows.iter().zip(Suite::ALL) {
        let cells: Vec<_> = row.split(" | ").collect();
        let expected =
            [suite.public_key_len(), suite.encapsulated_len(), 32].map(|length| length.to_string());
        assert_eq!(cells.first().copied(), Some(&*format!("| {}", suite.number())));
        assert_eq!(
            cells.get(3..6),
            Some(&expected.each_ref().map(String::as_str)[..]),
            "{row}"
        );
    }
}

#[test]
fn roles() {
    let rows = table(PROTOCOL, "| number | role | its holder |");
    assert_eq!(rows.len(), Role::ALL.len());
    for (row, role) in rows.iter().zip(Role::ALL) {
        let words = format!("{role:?}")
            .chars()
            .fold(String::new(), |mut words, letter| {
                if letter.is_uppercase() && !words.is_empty() {
                    words.push(' ');
                }
                words.extend(letter.to_lowercase());
                words
            });
        assert!(
            row.starts_with(&format!("| {} | {words} |", role.number())),
            "{row}"
        );
    }
    for arc in [1, 2, 3, 4] {
        assert!(OVERVIEW.contains(&format!("| 2.25.{ARC}.{arc}")), "{arc}");
    }
}

#[test]
fn terms() {
    let rows = table(LICENSE, "| key | entry | |");
    let starts = |key: u64| {
        rows.iter()
            .find(|row| row.starts_with(&format!("| {key} |")))
            .cloned()
            .unwrap_or_default()
    };
    for key in LicenseBody::TERMS {
        let row = starts(key);
        assert!(
            row.contains("(R-0") || row.contains("(V-0"),
            "{key} is enforced by a rule"
        );
    }
    for key in [21, 22] {
        assert!(starts(key).ends_with("| assigned, refused |"), "{key}");
    }
    for key in [20, 27] {
        assert!(starts(key).contains("not used, refused"), "{key}");
    }
    let kinds = table(LICENSE, "| kind | number | bound to | key | in this version |");
    for (row, number) in kinds.iter().zip(1..) {
        assert!(
            LicenseKind::from_number(number).is_some() && row.contains(&format!("| {number} |")),
            "{row}"
        );
    }
    assert_eq!(LicenseKind::from_number(kinds.len() as u64 + 1), None);
}

#[test]
fn explicit_restrictions_enablers_and_levels() {
    let restrictions = table(LICENSE, "| GUID | restriction | data |");
    assert_eq!(restrictions.len(), ExplicitRestriction::ALL.len());
    for (row, guid) in restrictions.iter().zip(ExplicitRestriction::ALL) {
        assert!(row.starts_with(&format!("| `{guid}` |")), "{row}");
    }
    let enablers = table(LICENSE, "| GUID | permits |");
    for (row, PlayEnabler(guid)) in enablers.iter().zip([
        PlayEnabler::UNKNOWN_OUTPUT,
        PlayEnabler::UNKNOWN_OUTPUT_REDUCED,
        PlayEnabler::AIRPLAY,
    ]) {
        assert!(row.starts_with(&format!("| `{guid}` |")), "{row}");
    }
    let levels = table(LICENSE, "| key | scale | levels |");
    let scales: [&[u64]; 5] = [
        &OutputProtectionLevels::AUDIO,
        &OutputProtectionLevels::AUDIO,
        &OutputProtectionLevels::COMPRESSED_DIGITAL_VIDEO,
        &OutputProtectionLevels::UNCOMPRESSED_DIGITAL_VIDEO,
        &OutputProtectionLevels::ANALOG_VIDEO,
    ];
    for (row, published) in levels.iter().zip(scales) {
        let published: Vec<_> = published.iter().map(u64::to_string).collect();
        assert!(row.ends_with(&format!("| {} |", published.join(", "))), "{row}");
    }
    for counts in [
        format!("At least one, at most {MAX_EXPLICIT_RESTRICTIONS}, each GUID once."),
        format!("At least one, at most {MAX_PLAY_ENABLERS}, each once;"),
        format!("At least one and at most {MAX_EXTENDED_RESTRICTIONS} restrictions:"),
        format!("(4, at most {MAX_EXTENDED_DATA} bytes)"),
        format!("least one right, at most {MAX_EXTENDED_RIGHTS}, each kind once."),
    ] {
        assert!(LICENSE.contains(&counts), "{counts}");
    }
}

#[test]
fn usage_rules_stand_in_the_spec_with_their_numbers() {
    for rule in Rule::ALL {
        assert!(RULES.contains(&format!("| {rule} |")), "{rule}");
    }
    // R-010 is the clock's, and from R-040 on they are the client's.
    let is_of_another = |line: &&str| {
        ["| R-010", "| R-04", "| R-05"]
            .iter()
            .any(|other| line.starts_with(other))
    };
    let of_spec = RULES.lines().filter(|line| line.starts_with("| R-0"));
    assert_eq!(
        of_spec.filter(|line| !is_of_another(line)).count(),
        Rule::ALL.len()
    );
}

#[test]
fn limits() {
    let limits = format!(
        "Limits: {MAX_KIDS} KIDs in headers and list together, {MAX_HEADERS} content headers, {MAX_TOKEN} bytes of token, \
         {MAX_CUSTOM_DATA} bytes of custom data,\n{MAX_CLIENT_TEXT} bytes for each text about the client; {MAX_RESULTS} results."
    );
    assert!(PROTOCOL.contains(&limits), "{limits}");
    let packaging = format!(
        "Limits: {MAX_CONTENT_ID} bytes of content id, at least one; {MAX_TRACKS} tracks, at least one, each label once; {MAX_LABEL} bytes of label"
    );
    assert!(PROTOCOL.contains(&packaging), "{packaging}");
    let lists = format!(
        "Limits: {MAX_PUSHED} lists in a response, {MAX_LISTS_IN_FILE} in a file, {MAX_LISTS_HELD} held by a client of one operator, \
         {} MiB of them together;\n{MAX_REVOKED} makers and models, {MAX_ALLOWED} allowed certificates, {MAX_TEXT} bytes for each text; \
         {MAX_PATH} certificates of a path.",
        ListBounds::CLIENT.bytes >> 20
    );
    assert_eq!(ListBounds::CLIENT.lists, MAX_LISTS_HELD);
    assert!(PROTOCOL.contains(&lists), "{lists}");
    for limit in [
        format!("[ 0*{MAX_LISTS_HELD} revocation-list-held ]"),
        format!("[ 0*{MAX_PUSHED} revocation-list ]"),
        format!("[ 1*{MAX_LISTS_IN_FILE} revocation-list ]"),
        format!("[ 0*{MAX_PATH} certificate ]"),
        format!("[ 1*{MAX_REVOKED} revoked-devices ]"),
        format!("[ 1*{MAX_ALLOWED} digest ]"),
        format!("bstr .size (0..{MAX_LIST_ID})"),
        format!("tstr .size (1..{MAX_TEXT}),   ; maker"),
        format!("[ 1*{MAX_RESULTS} acknowledged-license ]"),
        format!("[ 1*{MAX_EXPLICIT_RESTRICTIONS} explicit-restriction ]"),
        format!("[ 1*{MAX_PLAY_ENABLERS} play-enabler ]"),
        format!("[ 1*{MAX_EXTENDED_RESTRICTIONS} extended-restriction ]"),
        format!("[ 1*{MAX_EXTENDED_RIGHTS} extended-right ]"),
        format!("[ 1*{MAX_EXCHANGE_KEYS} exchange-key ]"),
        format!("bstr .size (1..{MAX_CONTEXT})"),
        format!("? 7 => 1..{MAX_USES}, "),
        format!("bstr .size (0..{MAX_EXTENDED_DATA})"),
        format!("[ 0*{MAX_KIDS} kid ]"),
        format!("[ 0*{MAX_HEADERS} bstr ]"),
        format!("[ 0*{MAX_RESULTS} result ]"),
        format!("tstr .size (0..{MAX_TOKEN})"),
        format!("bstr .size (0..{MAX_CUSTOM_DATA})"),
        format!("tstr .size (0..{MAX_CLIENT_TEXT})"),
        format!("tstr .size (1..{MAX_CONTENT_ID})"),
        format!("tstr .size (1..{MAX_LABEL})"),
        format!("[ 1*{MAX_TRACKS} wanted-track ]"),
        format!("optional-key = uint .ge {FIRST_OPTIONAL_KEY}"),
    ] {
        assert!(CDDL.contains(&limit), "{limit}");
    }
    assert!(OVERVIEW.contains(&format!("more than {MAX_DEPTH} levels")));
    assert!(OVERVIEW.contains(&format!("| 0 to {} |", FIRST_OPTIONAL_KEY - 1)));
    assert!(OVERVIEW.contains(&format!(
        "| {FIRST_GREASE_KEY} to {} |",
        FIRST_GREASE_KEY + 0xffff
    )));
}

/// The rows of the table with this head.
fn table(page: &str, head: &str) -> Vec<String> {
    let rows = page.lines().skip_while(|line| *line != head).skip(2);
    let rows: Vec<_> = rows
        .take_while(|line| line.starts_with('|'))
        .map(str::to_owned)
        .collect();
    assert!(!rows.is_empty(), "no table {head}");
    rows
}
