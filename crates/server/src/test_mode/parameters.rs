//! The test parameters, each with what becomes of it. `spec/test-server.md` has the same table.

use keyward_license::error_code::ErrorCode;

/// A test parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Other names of it.
    pub aliases: &'static [&'static str],
    /// What becomes of it.
    pub does: Does,
}

/// What becomes of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// It works.
    Works,
    /// It is a flag that is refused where it is set.
    RefusedIfSet(ErrorCode, &'static str),
    /// It is refused, with this error and sentence.
    Refused(ErrorCode, &'static str),
}

/// Every parameter, in the order of the specification.
pub const PARAMETERS: &[Parameter] = &[
    works("sl", &[]),
    works("keyseed", &[]),
    works("kid", &[]),
    works("contentkey", &["ck"]),
    works("ckt", &[]),
    works("tid", &[]),
    works("playright", &[]),
    refused_if_set("readright", NO_SUCH_RIGHT),
    refused_if_set("executeright", NO_SUCH_RIGHT),
    works("extendedright", &[]),
    works("persist", &[]),
    refused_if_set(
        "simple",
        "there is one class of licenses that are not stored: leave `persist` out",
    ),
    works("begindate", &[]),
    works("enddate", &["expiration"]),
    works("firstexp", &["firstplayexpiration"]),
    works("realtime", &[]),
    works("removaldate", &[]),
    works("isroot", &[]),
    works("rootid", &[]),
    Parameter {
        name: "accountid",
        aliases: &[],
        does: Does::Refused(
            ErrorCode::DomainRequired,
            "a license for a domain needs domains, which there are not yet",
        ),
    },
    works("sourceid", &[]),
    works("caopl", &[]),
    works("ucaopl", &[]),
    works("cvopl", &[]),
    works("ucvopl", &[]),
    works("avopl", &[]),
    works("dvop", &[]),
    works("daop", &[]),
    works("avop", &[]),
    works("extendedrestrictions", &[]),
    works("playenablers", &[]),
    works("explicitacp", &[]),
    works("maxres", &[]),
    works("allowunknownsd", &[]),
    works("allowunknownhd", &[]),
    works("errorcode", &[]),
    works("msg", &[]),
    works("revoked", &[]),
    refused_if_set("securestop", "there is no secure stop yet"),
    Parameter {
        name: "meteringid",
        aliases: &[],
        does: Does::Refused(ErrorCode::ServiceSpecific, "there is no metering yet"),
    },
    works("algorithm", &[]),
    works("operation", &[]),
    works("clock", &[]),
    works("latency", &[]),
    works("transaction", &[]),
];

impl Parameter {
    /// The parameter of a name, of either case.
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        let is_called = |known: &&str| known.eq_ignore_ascii_case(name);
        PARAMETERS
            .iter()
            .find(|one| is_called(&one.name) || one.aliases.iter().any(is_called))
    }
}

const fn works(name: &'static str, aliases: &'static [&'static str]) -> Parameter {
    Parameter {
        name,
        aliases,
        does: Does::Works,
    }
}

const fn refused_if_set(name: &'static str, why: &'static str) -> Parameter {
    Parameter {
        name,
        aliases: &[],
        does: Does::RefusedIfSet(ErrorCode::ServiceSpecific, why),
    }
}

const NO_SUCH_RIGHT: &str = "no license grants this right; an application's own are `extendedright`";
