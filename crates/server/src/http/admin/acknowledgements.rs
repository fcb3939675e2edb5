//! `GET /acknowledgements`, with `?state=open` or `?state=acknowledged`.

use axum::{extract::State, http::Uri};
use keyward_license::error_code::ErrorCode;
use serde::Serialize;

use super::problem::AdminProblem;
use crate::{Server, metrics::outcome_name};

#[derive(Serialize)]
pub(super) struct Listed {
    transaction: String,
    device: String,
    answered: u64,
    acknowledged: Option<u64>,
    licenses: Option<Vec<License>>,
}

#[derive(Serialize)]
struct License {
    kid: String,
    license: Option<String>,
    outcome: &'static str,
    reason: Option<String>,
}

pub(super) async fn list(
    State(server): State<Server>,
    uri: Uri,
) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let acknowledged = match uri.query() {
        None => None,
        Some("state=open") => Some(false),
        Some("state=acknowledged") => Some(true),
        Some(_) => {
            let detail = "the query is `state=open` or `state=acknowledged`";
            return Err(AdminProblem::new(ErrorCode::Malformed, detail));
        }
    };
    let transactions = server.transactions(acknowledged).await?.into_iter();
    let listed = transactions.map(|transaction| {
        let (at, licenses) = transaction.acknowledged.unzip();
        Listed {
            transaction: transaction.id.to_string(),
            device: transaction.device.to_string(),
            answered: transaction.answered.0,
            acknowledged: at.map(|at| at.0),
            licenses: licenses.map(|licenses| {
                let each = licenses.into_iter().map(|license| License {
                    kid: license.kid.to_string(),
                    license: license.license.map(|id| id.to_string()),
                    outcome: outcome_name(license.outcome),
                    reason: license.reason,
                });
                each.collect()
            }),
        }
    });
    Ok(axum::Json(listed.collect()))
}
