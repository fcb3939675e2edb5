//! What a request asks of a test operator, in all its forms.

use keyward_server::test_mode::{MAX_GROUPS, MAX_LATENCY, TestRequest};

/// A test request: a query, or custom data if the input begins with `json=`. What is read is bounded, and a query with
/// every byte percent-encoded says the same. Accepted is what is understood, though it may be refused.
#[must_use]
pub fn test_request(input: &[u8]) -> bool {
    if input.starts_with(b"json=") {
        return read(None, Some(input)).is_some();
    }
    let Ok(query) = core::str::from_utf8(input) else {
        return false;
    };
    let Some(asked) = read(Some(query), None) else {
        return false;
    };
    let plain = query
        .strip_prefix("cfg=")
        .filter(|value| !value.contains(['%', '&']));
    if let Some(value) = plain.filter(|value| value.len() < 5_000) {
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let again = read(Some(&format!("cfg={encoded}")), None).unwrap();
        assert_eq!(format!("{asked:?}"), format!("{again:?}"));
    }
    true
}

fn read(query: Option<&str>, custom_data: Option<&[u8]>) -> Option<TestRequest> {
    let asked = match TestRequest::read(query, custom_data) {
        Ok(asked) => asked,
        Err(fault) => {
            let told = fault.to_string();
            assert!(told.len() < 500 && !told.chars().any(char::is_control), "{told}");
            return None;
        }
    };
    assert!(asked.licenses.len() <= MAX_GROUPS);
    assert!(asked.answer.latency.is_none_or(|latency| latency <= MAX_LATENCY));
    Some(asked)
}
