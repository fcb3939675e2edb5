//! Who the configuration says is asked.

use std::path::Path;

use super::{Rows, Source};
use crate::{
    Error,
    config::{Authorization, AuthorizationSource},
    jwt::Tokens,
    webhook::Hook,
};

/// The sources in their order. Files are named relative to `dir`; those of a source that is not asked are not read.
///
/// # Errors
/// [`Error::File`], [`Error::SecretExposed`], [`Error::Config`].
pub(crate) fn load(settings: &Authorization, dir: &Path) -> Result<Vec<Box<dyn Source>>, Error> {
    let mut sources: Vec<Box<dyn Source>> = Vec::with_capacity(settings.sources.len());
    for source in &settings.sources {
        match (source, &settings.webhook) {
            (AuthorizationSource::Rows, _) => sources.push(Box::new(Rows)),
            (AuthorizationSource::Jwt, _) => sources.push(Box::new(Tokens::load(&settings.jwt, dir)?)),
            (AuthorizationSource::Webhook, Some(webhook)) => {
                sources.push(Box::new(Hook::load(webhook, dir)?))
            }
            // The configuration was validated: there is one.
            (AuthorizationSource::Webhook, None) => {}
        }
    }
    Ok(sources)
}
