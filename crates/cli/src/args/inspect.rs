//! Arguments of `keyward inspect`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct InspectArgs {
    /// What to explain; `-` reads standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Verify under the operator of this profile
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Verify under the operators that this client is enrolled with
    #[arg(long, value_name = "DIR")]
    pub(crate) client_dir: Option<PathBuf>,
    /// Verify under this operator, and open requests that are sealed to it. That stands in its record
    #[arg(long, value_name = "DIR")]
    pub(crate) operator: Option<PathBuf>,
    /// File of the operator's key-encryption key [default: the environment's KEYWARD_KEK, else the operator's `kek`]
    #[arg(long, value_name = "FILE", requires = "operator")]
    pub(crate) kek_file: Option<PathBuf>,
    /// Open the response with the key in the sealed request that it answers
    #[arg(long, value_name = "FILE", requires = "operator")]
    pub(crate) request: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
What it is, is told from its bytes; binary, base64, hexadecimal and PEM text are read. Content keys, tokens and the
keys that responses are sealed under are never printed.

With --json, one object:
  file         what was named
  kind         protected_file, mp4, pssh, playready_object, playready_header, license, license_request,
               license_response, enrolment_request, enrolment_response, packaging_request, packaging_response,
               acknowledge_request, receipt, discovery_document, signed_message, sealed_request,
               sealed_response, operator_profile, revocation_lists, certificate_revocation_list,
               device_revocation_list, problem_document, certificates
  bytes        size, of what text stands for
  encoding     base64, hexadecimal or pem, if it was text
  standing     verified or unverified
  operator     under which operator it was verified: SHA-256 of its root certificate
  operator_name, verified_at (seconds since 1970, UTC)
  reason       why it is unverified
  not_checked  what no field says
  verified     the fields, if they were verified
  unverified   the fields, if they were not: anyone may have written them
  inside       of a sealed message that was opened: the message, again such an object

Fields have the names of the specification, in snake case. Key ids, ids and digests are hexadecimal, times are
seconds since 1970 (UTC), names that end in _bytes are sizes. `faults` lists what a reader would refuse.";
