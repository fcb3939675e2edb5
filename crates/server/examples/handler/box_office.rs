//! Whoever has a ticket may have the film.

use std::collections::HashSet;

use keyward_license::{error_code::ErrorCode, ids::Kid};
use keyward_server::{
    handler::{Asked, Decision, HandlerError, LicenseHandler, Permission},
    policy::{PolicyTerms, Preset},
};

/// Knows which account has a ticket for which film. A film is one key id.
pub(crate) struct BoxOffice {
    sold: HashSet<(String, Kid)>,
    shop: String,
}

impl BoxOffice {
    /// Reads a list of tickets: on each line an account and a key id.
    pub(crate) fn read(tickets: &str, shop: &str) -> Result<Self, String> {
        let sold = tickets.lines().map(|line| {
            let (account, kid) = line.split_once(' ').ok_or(format!("not a ticket: {line}"))?;
            let kid = kid.trim().parse().map_err(|_| format!("not a key id: {kid}"))?;
            Ok((account.to_owned(), kid))
        });
        Ok(Self {
            sold: sold.collect::<Result<_, String>>()?,
            shop: shop.to_owned(),
        })
    }

    /// Thirty days to begin, forty-eight hours from the first play; on any device that can keep a secret.
    fn terms() -> PolicyTerms {
        Preset::Rental.terms()
    }
}

impl LicenseHandler for BoxOffice {
    async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
        let mut decision = Decision::default();
        let mut admitted = 0;
        for key in &asked.keys {
            if self.sold.contains(&(asked.account.clone(), key.kid)) {
                decision.grant(key.kid, Permission::own(Self::terms()));
                admitted += 1;
            } else {
                let page = format!("{}/films/{}", self.shop, key.kid);
                let sentence = "There is no ticket for this film.";
                decision.deny(key.kid, ErrorCode::NotEntitled, sentence, Some(&page));
            }
        }
        decision.set_custom_data(format!("admitted to {admitted}").into_bytes())?;
        Ok(decision)
    }
}
