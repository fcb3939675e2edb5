//! What the person who runs the server can do about each failure.

use std::io::ErrorKind;

use super::Error;

impl Error {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OperatorExists(_) => {
                "name a directory that does not exist, or use the operator that is there"
            }
            Self::NoOperator(_) => "run `keyward init` to make an operator, or name its directory",
            Self::BackupExists(_) => "name a directory that does not exist",
            Self::NoBackup(_) => "name a directory that `keyward admin backup` made",
            Self::BackupForm(_) => "use the version of keyward that made the backup, or a later one",
            Self::BackupDamaged { .. } => "use another backup, or another copy of this one",
            Self::File { source, .. } => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk, and repeat",
                ErrorKind::AlreadyExists => "name a file that does not exist",
                ErrorKind::ReadOnlyFilesystem => "name a place on a disk that can be written",
                _ => "check the path and its permissions",
            },
            Self::Config(error) => error.hint(),
            Self::KekMalformed => "supply the key-encryption key as `keyward init` wrote it",
            Self::KekExposed(_) | Self::SecretExposed(_) => {
                "run `chmod 600` on the file, and consider who has read it"
            }
            Self::WrongKek => "supply the key-encryption key that belongs to this operator directory",
            Self::KekRolled | Self::RolledMeanwhile(_) => "repeat the command",
            Self::KekGiven { in_file: true } => "leave the new key out: the server draws it",
            Self::KekGiven { in_file: false } | Self::KekInUse => {
                "make another key of 64 hexadecimal digits, and name where it is: `--new-kek-env NAME`"
            }
            Self::RolledBy(_) => {
                "ask for its certificate first, and have the root sign that: `keyward admin roll`"
            }
            Self::Ended(_) => "roll it with the root's private key: `keyward admin roll`",
            Self::RolledHere(_) => "roll it without the root's key",
            Self::NotTheAuthority(_) => "ask for the certificate again, and sign what is asked for",
            Self::AlreadyServed(_) => {
                "stop the other server first; commands of `keyward admin` work while it runs"
            }
            Self::NotATestOperator => "record an operator that `keyward init --test` made",
            Self::Transcript(_) => "name a file that `keyward serve --record` wrote, whole",
            Self::NotLoopback => "listen on 127.0.0.1 or ::1",
            Self::EarlierServes(_) => "stop that server, and start it anew in this version",
            Self::Thread(_) => "raise the limit of processes and threads of the server's user",
            Self::NoDatabase(_) => "restore the operator from its backup: `keyward admin restore`",
            Self::Database { fault, .. } | Self::NotCommitted(fault) => fault.hint(),
            Self::Migration(_) => "use the version of keyward that wrote it, or restore a backup",
            Self::Together(error) => error.hint(),
            Self::Damaged(_) => "restore the operator directory from a backup",
            Self::Stopping => "try again when the server has started",
            Self::Crypto(_) | Self::Making(_) | Self::Encoding(_) | Self::ContentHeader(_) => {
                "report this with the log line that came with it"
            }
            Self::RequestNotOpened(_) => "name the operator that the request is sealed to",
            Self::Serving(_) => {
                "check that the addresses of operator.toml are free and belong to this machine"
            }
            Self::PolicyRefused(_) => "change the policy as the reason says",
            Self::PolicyUnknown(_) => "create the policy first, or use `default`",
            Self::KeyConflict(_) => "use a new key id: one key serves in one mode only",
            Self::KeyReused(_) => "use a fresh key: one key serves under one key id only",
            Self::KidUnknown(_) => "register the key id first",
            Self::KeyTypeRefused(_) => "use `cenc-ctr`, `cenc-cbc` or `file`",
            Self::SeedUnknown(_) => "use seed 1, which every operator has",
            Self::NoPackagerAuthority => "make one: `keyward admin roll packager-authority`",
            Self::DeviceUnknown(_) => "list the devices to see which are enrolled",
            Self::EntitlementUnknown(_) => "list the entitlements of the account",
            Self::AdminTokenUnknown(_) => "list the admin tokens to see their names",
            Self::ServiceTokenUnknown(_) => "list the service tokens to see their names",
            Self::KidOfContent(_) | Self::KidOfExchange(_) | Self::KidOfRoot(_) => {
                "use another key id: keys of content, exchange keys and roots are never the same"
            }
            Self::KeyOfContent(_) | Self::KeyOfExchange(_) | Self::KeyOfRoot(_) => {
                "use a fresh key: a value serves once, and never content and key exchange both"
            }
            Self::RootExists(_) => "use another name, or the root that there is",
            Self::RootUnknown(_) => "list the roots to see their key ids",
            Self::AboveRoot { .. } => "put it under a root of that security level, or leave it out",
            Self::TooManyRoots(_) => "take it off a root that is not sold any more",
            Self::NotUnderRoot(..) | Self::BlackoutUnknown(_) => "show the root to see what is under it",
            Self::CertificateUnknown(_) => {
                "see `keyward admin devices` for those of devices and packagers, and `keyward admin revocation \
                 certificates` for the operator's own"
            }
            Self::OfAuthority(_) => "revoke it with the root's private key: `keyward admin revoke-authority`",
            Self::NotOfAuthority(_) => "revoke it with `keyward admin revocation certificate`",
            Self::RevokedEarlier(_) => {
                "leave the time out; if it is to be trusted until then, take the entry off the list first: `keyward admin \
                 revocation restore-model`"
            }
            Self::CertificateInUse(_) => {
                "put another in its place first: `keyward admin roll`; before a server authority is revoked, roll \
                 license-server, request-encryption, receipt and revocation-list as well"
            }
            Self::CertificateNotRevoked(_) | Self::ModelUnknown(_) | Self::CertificateNotAllowed(_) => {
                "list the revocations to see what is revoked"
            }
            Self::DeviceRevokedForGood(_) => "let its owner enrol a new device key",
            Self::ListFull(_) => "take entries off the list, or revoke a company in the place of its models",
            Self::NoListSigner => "make a new server authority: `keyward admin roll server-authority`",
            Self::ListUntrusted(_) => {
                "make it with the root key of this operator: `keyward admin revoke-authority`"
            }
            Self::ListRefused(_) => "make a new one with the root key: `keyward admin revoke-authority`",
            Self::ExchangeKeyExists(_) => "use another key id, or rotate the key to give it a new version",
            Self::ExchangeKeyUnknown(_) => "list the exchange keys to see their key ids",
            Self::ExchangeKeyDisabled(_) => "enable the key, or use another",
            Self::ExchangeKeyDestroyed(_) => "make another key: what is destroyed does not come back",
            Self::ExchangeVersionUnknown(..) => "show the key to see its versions",
            Self::ExchangeKeySpent(_) => "rotate the key, and repeat",
            Self::ExchangeKeyBusy(_) => "repeat when nobody changes the key",
            Self::BesideRefused(..) => "leave `beside` out: the key then has licenses of its own",
            Self::ExchangeKeyRefused { .. } => "give the key in the length and form of its algorithm",
            Self::NotTheMirror { .. } => {
                "ask for the operation that undoes or checks what clients do with the key"
            }
            Self::ExchangeNotPermitted { .. } => "use a token that names the key",
            Self::NotPerformed { fault, .. } => fault.hint(),
            Self::ExchangeTokenUnknown(_) => "list the exchange tokens to see their names",
            Self::PolicyAboutPlaying { .. } => {
                "use a policy without terms about playing: begin, duration, end, grace period and security level are \
                 for key exchange as well"
            }
            Self::OutOfRange { .. } => "correct the value and repeat",
        }
    }
}
