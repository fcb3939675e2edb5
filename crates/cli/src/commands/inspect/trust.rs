//! Whom to believe: the operators that were named. What they signed is verified, all else is unverified.

use std::{fmt::Display, path::Path};

use keyward_client_native::{NativeClient, NoTransport};
use keyward_crypto::{ChainFault, CryptoError, Secret, x509::Anchor};
use keyward_license::{
    codec::Wire,
    ids::{DeviceId, Digest},
    operator_profile::OperatorProfile,
    revocation::ListFault,
    signed::MessageError,
    time::Timestamp,
};
use keyward_server::{
    clock::{Clock, SystemClock},
    danger::OpenedRequest,
};

use super::explanation::Standing;
use crate::{
    args::{InspectArgs, OperatorDir},
    failure::{Failure, file_error},
    operator::Operator,
    report,
};

/// Everything that was named to verify and open with.
pub(super) struct Trust {
    operators: Vec<Known>,
    operator: Option<Operator>,
    /// The device whose client was named.
    pub(super) device: Option<DeviceId>,
    /// The request whose response is opened.
    pub(super) request: Option<Asked>,
    /// The time that requests are judged at.
    pub(super) now: Timestamp,
}

/// An opened request, as far as its response depends on it.
pub(super) struct Asked {
    /// Whom the request names as its receiver.
    pub(super) recipient: Digest,
    /// Context of the response.
    pub(super) context: &'static str,
    pub(super) digest: Digest,
    pub(super) response_key: Secret<32>,
}

/// An operator that was named.
pub(super) struct Known {
    id: Digest,
    name: String,
    anchor: Anchor,
}

impl Known {
    pub(super) fn verified(&self, at: Timestamp) -> Standing {
        Standing::Verified {
            operator: self.id,
            operator_name: self.name.clone(),
            at,
        }
    }
}

impl Trust {
    /// Believes nobody.
    pub(super) const fn nobody(now: Timestamp) -> Self {
        Self {
            operators: Vec::new(),
            operator: None,
            device: None,
            request: None,
            now,
        }
    }

    /// Believes the operators of a client.
    pub(super) fn of_client(client: &NativeClient, now: Timestamp) -> Result<Self, Failure> {
        let mut trust = Self::nobody(now);
        trust.know_client(client)?;
        Ok(trust)
    }

    /// Opens what was named.
    pub(super) fn of(args: &InspectArgs) -> Result<Self, Failure> {
        let mut trust = Self::nobody(SystemClock.now());
        if let Some(path) = &args.profile {
            let profile = std::fs::read(path).map_err(file_error("read", path))?;
            let profile = OperatorProfile::decode(&profile).map_err(|error| {
                Failure::new(
                    format!("{} is not an operator profile: {error}", path.display()),
                    "name the file `operator-profile` of the operator",
                )
            })?;
            trust.know(&profile)?;
        }
        if let Some(folder) = &args.client_dir {
            trust.know_client(&open_client(folder)?)?;
        }
        if let Some(folder) = &args.operator {
            let operator = Operator::open(&OperatorDir {
                operator: folder.clone(),
                kek_file: args.kek_file.clone(),
            })?;
            trust.know(operator.profile())?;
            trust.operator = Some(operator);
        }
        Ok(trust)
    }

    /// Runs a check under each operator until one holds; or says in words why none does.
    pub(super) fn verify<T, E: Refused>(
        &self,
        check: impl Fn(&Anchor) -> Result<T, E>,
    ) -> Result<(T, &Known), String> {
        let mut refused: Option<(&Known, E)> = None;
        for known in &self.operators {
            match check(&known.anchor) {
                Ok(verified) => return Ok((verified, known)),
                // The refusal of the operator that the signer belongs to says most.
                Err(error) if refused.is_none_or(|(_, earlier)| earlier.is_of_another()) => {
                    refused = Some((known, error));
                }
                Err(_) => {}
            }
        }
        Err(refused.map_or_else(
            || NOBODY_NAMED.to_owned(),
            |(known, error)| {
                format!(
                    "refused under operator {} ({}): {error}",
                    known.id,
                    report::quoted(&known.name)
                )
            },
        ))
    }

    /// Whether a response names the request that was named, if one was.
    pub(super) fn answers(&self, request: &Digest) -> Option<bool> {
        self.request.as_ref().map(|asked| asked.digest == *request)
    }

    /// The operator with this root certificate.
    pub(super) fn with_root(&self, der: &[u8]) -> Option<&Known> {
        self.operators.iter().find(|known| known.anchor.der() == der)
    }

    /// The operator with this id, and its root.
    pub(super) fn with_id(&self, id: &Digest) -> Option<(Anchor, &Known)> {
        let known = self.operators.iter().find(|known| known.id == *id)?;
        Some((known.anchor.clone(), known))
    }

    /// Opens a sealed request if an operator was named whose keys may do that.
    pub(super) fn open_request(&self, sealed: &[u8]) -> Result<Option<OpenedRequest>, keyward_server::Error> {
        self.operator
            .as_ref()
            .map(|operator| operator.open_request(sealed))
            .transpose()
    }

    /// Takes a client's device and operators in.
    fn know_client(&mut self, client: &NativeClient) -> Result<(), Failure> {
        self.device = Some(client.device_id()?);
        client.operators().try_for_each(|profile| self.know(profile))
    }

    /// Takes an operator in.
    pub(super) fn know(&mut self, profile: &OperatorProfile) -> Result<(), Failure> {
        let anchor = Anchor::from_der(&profile.root.0).map_err(|error| {
            Failure::new(
                format!("the operator profile has no usable root certificate: {error}"),
                "get the profile again from the operator",
            )
        })?;
        let id = profile.operator();
        if self.operators.iter().all(|known| known.id != id) {
            self.operators.push(Known {
                id,
                name: profile.name.clone(),
                anchor,
            });
        }
        Ok(())
    }
}

/// Why a check does not hold.
pub(super) trait Refused: Copy + Display {
    /// Whether who signed belongs to another operator.
    fn is_of_another(&self) -> bool;
}

impl Refused for MessageError {
    fn is_of_another(&self) -> bool {
        *self == Self::Signer(UNKNOWN_ISSUER)
    }
}

impl Refused for ListFault {
    fn is_of_another(&self) -> bool {
        match self {
            Self::Devices(error) => error.is_of_another(),
            Self::Certificates(error) => *error == UNKNOWN_ISSUER,
            _ => false,
        }
    }
}

const UNKNOWN_ISSUER: CryptoError = CryptoError::ChainRefused(ChainFault::UnknownIssuer);

/// Opens a client that is there. One that is not would be made, which explains nothing.
fn open_client(folder: &Path) -> Result<NativeClient, Failure> {
    if !folder.join("device.keys").is_file() {
        return Err(Failure::new(
            format!("there is no client in {}", folder.display()),
            "name the folder that `--client-dir` names in `keyward enrol`",
        ));
    }
    Ok(NativeClient::open(folder, Box::new(NoTransport))?)
}

const NOBODY_NAMED: &str = "no operator was named to verify it under (--profile, --client-dir or --operator)";
