//! What is found when a party's own files and settings are examined: one form for server and client, so that one
//! program shows both.

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in one word for people and programs.
    pub about: &'static str,
    /// How it is.
    pub standing: Standing,
    /// What and why, in one line.
    pub what: String,
    /// What to do, in one line; empty where there is nothing to do.
    pub hint: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As it should be.
    Good,
    /// It works, and will not for long, or less is safe than could be.
    Warning,
    /// It does not work.
    Error,
}

impl Standing {
    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Finding {
    /// As it should be.
    #[must_use]
    pub fn good(about: &'static str, what: impl Into<String>) -> Self {
        Self {
            about,
            standing: Standing::Good,
            what: what.into(),
            hint: String::new(),
        }
    }

    /// Works, and needs somebody's attention.
    #[must_use]
    pub fn warning(about: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            standing: Standing::Warning,
            hint: hint.into(),
            ..Self::good(about, what)
        }
    }

    /// Does not work.
    #[must_use]
    pub fn error(about: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            standing: Standing::Error,
            hint: hint.into(),
            ..Self::good(about, what)
        }
    }
}

/// Whole days in a number of seconds, in words.
#[must_use]
pub fn days(seconds: u64) -> String {
    match seconds / 86_400 {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// How long before an end somebody is warned of it, in seconds: 30 days.
pub const AHEAD: u64 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worse_is_greater() {
        let found = [
            Finding::error("a", "b", "c"),
            Finding::good("a", "b"),
            Finding::warning("a", "b", "c"),
        ];
        let worst = found.iter().map(|finding| finding.standing).max();
        assert_eq!(worst, Some(Standing::Error));
        assert!(Standing::Good < Standing::Warning);
        assert_eq!(
            found.map(|finding| finding.standing.name()),
            ["error", "ok", "warning"]
        );
    }

    #[test]
    fn days_are_whole() {
        for (seconds, words) in [
            (0, "less than a day"),
            (86_400, "1 day"),
            (30 * 86_400 - 1, "29 days"),
        ] {
            assert_eq!(days(seconds), words);
        }
    }
}
