//! Steps 4 to 11: a device that has no license, and then one.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use keyward_client::{
    acquire::Wanted,
    enforce::Availability,
    flow::{Answer, Outgoing},
    session::{Acquisition, Opened},
};
use keyward_client_native::{NativeClient, Transport};
use keyward_license::{ids::Kid, license::LicenseBody};
use keyward_packager::OutputSink;
use keyward_server::admin::TokenRequest;

use super::{Form, Place, Story, bytes, clock, millis, protect::ProtectedFile, short, wrong};
use crate::{
    failure::{Failure, file_error},
    operator::Operator,
    output::FileSink,
    protected::{Protected, Stopped, pour},
    report,
    transport::Http,
};

/// The user's device.
pub(super) struct Device {
    folder: PathBuf,
    outputs: PathBuf,
}

impl Device {
    /// Enrols a new device.
    pub(super) fn new(place: &Place, operator: &Operator, story: Story) -> Result<Self, Failure> {
        let device = Self {
            folder: place.path("device"),
            outputs: place.folder.clone(),
        };
        operator.grant("demo", None, "default", None)?;
        let token = operator.enrolment_token(TokenRequest::new("demo"))?;
        let (mut client, _) = device.open()?;
        let started = clock();
        let enrolled = client.enrol(operator.profile().clone(), token.expose().to_owned())?;
        story.say(&format!(
            "        Device {}… enrols in {}: certificate of security level {}, valid until {}.",
            short(&client.device_id()?.to_string()),
            millis(started),
            enrolled.security_level.unwrap_or_default(),
            report::time(enrolled.valid_until),
        ));
        Ok(device)
    }

    /// Opens the client component afresh, as a new process would, with a record of what it sends.
    fn open(&self) -> Result<(NativeClient, Exchanges), Failure> {
        let exchanges = Rc::new(RefCell::new(Vec::new()));
        let transport = Recording {
            http: Http::new(),
            exchanges: Rc::clone(&exchanges),
        };
        Ok((NativeClient::open(&self.folder, Box::new(transport))?, exchanges))
    }

    /// Steps 4 to 11, with an empty license store.
    pub(super) fn play_reactively(&self, file: &ProtectedFile, story: Story) -> Result<PathBuf, Failure> {
        let (mut client, exchanges) = self.open()?;
        story.step(
            4,
            "The player asks the client component whether the file can be played.",
        );
        for kid in &file.kids {
            if client.find(*kid)? != Availability::Missing {
                return Err(wrong("the new license store is not empty"));
            }
        }
        let plural = file.kids.len() > 1;
        story.step(
            5,
            &format!(
                "The client looks in its license store: no license for {}.",
                if plural { "these keys" } else { "this key" }
            ),
        );

        let (opened, protected) = open(&mut client, file)?;
        let exchanges = exchanges.borrow();
        let exchange = exchanges
            .last()
            .ok_or_else(|| wrong("no license request was sent"))?;
        if opened.acquired.is_none() {
            return Err(wrong("the license was not acquired"));
        }
        let terms = stored_terms(&mut client, &file.kids)?;
        tell_acquisition(exchange, &terms, story);
        let output = self.output(file, "played-1");
        let took = decrypt(&opened, protected, file, &output)?;
        story.step(
            11,
            &format!(
                "It decrypts {} in {took:.1?} for the player.",
                bytes(file.clear_len)
            ),
        );
        Ok(output)
    }

    /// Steps 4, 5 and 11 again, by a new client over the same store, with nobody to ask.
    pub(super) fn play_from_store(&self, file: &ProtectedFile, story: Story) -> Result<PathBuf, Failure> {
        let (mut client, exchanges) = self.open()?;
        let started = clock();
        let (opened, protected) = open(&mut client, file)?;
        if opened.acquired.is_some() || !exchanges.borrow().is_empty() {
            return Err(wrong("the second playback asked for a license"));
        }
        let found = match file.kids.len() {
            1 => "the license".to_owned(),
            count => format!("{count} licenses"),
        };
        story.step(
            5,
            &format!("A new player finds {found} in the store in {}.", millis(started)),
        );
        let output = self.output(file, "played-2");
        let took = decrypt(&opened, protected, file, &output)?;
        story.step(
            11,
            &format!(
                "It decrypts {} in {took:.1?}, without any server.",
                bytes(file.clear_len)
            ),
        );
        Ok(output)
    }

    fn output(&self, file: &ProtectedFile, name: &str) -> PathBuf {
        match file.form {
            Form::File => self.outputs.join(name),
            Form::Media => self.outputs.join(name).with_extension("mp4"),
        }
    }
}

/// What a client has sent and received.
type Exchanges = Rc<RefCell<Vec<Exchange>>>;

/// One request and its answer.
struct Exchange {
    sent: usize,
    received: usize,
    took: Duration,
}

struct Recording {
    http: Http,
    exchanges: Exchanges,
}

impl Transport for Recording {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let started = clock();
        let answer = self.http.send(outgoing)?;
        let exchange = Exchange {
            sent: outgoing.body.len(),
            received: answer.body.len(),
            took: started.elapsed(),
        };
        self.exchanges.borrow_mut().push(exchange);
        Ok(answer)
    }

    fn retry_after(&self) -> Option<u64> {
        self.http.retry_after()
    }

    fn wait(&mut self, time: Duration) {
        self.http.wait(time);
    }
}

fn open(client: &mut NativeClient, file: &ProtectedFile) -> Result<(Opened, Protected), Failure> {
    let mut protected = Protected::open(&file.path)?;
    let content = protected.content();
    let kids = content.kids.clone();
    let all = |kids: &[Kid]| kids.iter().copied().collect::<BTreeSet<_>>();
    if all(&kids) != all(&file.kids) {
        return Err(wrong(
            "the protected file names other keys than it was protected with",
        ));
    }
    let mut wanted = Wanted::default();
    content.ask_for(&mut wanted);
    let opened = client.open_content(kids, wanted, Acquisition::Reactive)?;
    Ok((opened, protected))
}

fn decrypt(
    opened: &Opened,
    protected: Protected,
    file: &ProtectedFile,
    output: &Path,
) -> Result<Duration, Failure> {
    let failed = file_error("play", &file.path);
    let started = clock();
    let mut clear = protected.unlock(opened, 0).map_err(&failed)?;
    let mut sink = FileSink::create(output, false)?;
    pour(&mut *clear, &mut sink).map_err(|stopped| match stopped {
        Stopped::Reading(error) => failed(error),
        Stopped::Writing(error) => file_error("write", output)(error),
    })?;
    let took = started.elapsed();
    sink.commit().map_err(file_error("write", output))?;
    Ok(took)
}

/// The licenses of the keys, in the keys' order.
fn stored_terms(client: &mut NativeClient, kids: &[Kid]) -> Result<Vec<LicenseBody>, Failure> {
    let licenses = client.licenses()?;
    let of_kid = |kid: &Kid| {
        let mut all = licenses.iter();
        let found = all.find(|license| license.keys.iter().any(|key| key.kid == *kid));
        found
            .cloned()
            .ok_or_else(|| wrong("the license is not in the store"))
    };
    kids.iter().map(of_kid).collect()
}

/// Steps 6 to 10, which the client and the license server have gone through.
fn tell_acquisition(exchange: &Exchange, terms: &[LicenseBody], story: Story) {
    let plural = terms.len() > 1;
    story.step(
        6,
        &format!(
            "It makes a license request of {}: content header and device information, signed by the\n\
             device, sealed to the license server.",
            bytes(exchange.sent as u64),
        ),
    );
    story.step(
        7,
        if plural {
            "The server derives the same content keys from seed 1 and the key ids, and seals each to the device."
        } else {
            "The server derives the same content key from seed 1 and the key id, and seals it to the device."
        },
    );
    let ids: Vec<_> = terms
        .iter()
        .map(|terms| format!("{}…", short(&terms.id.to_string())))
        .collect();
    let ids = ids.join(", ");
    story.step(
        8,
        &if plural {
            format!("It makes licenses {ids}, puts the sealed keys in, records them, and signs them.")
        } else {
            format!("It makes license {ids}, puts the sealed key in, records it, and signs it.")
        },
    );
    story.step(
        9,
        &format!(
            "The response of {} travels back; the exchange took {:.1?}.",
            bytes(exchange.received as u64),
            exchange.took
        ),
    );
    let mut described: Vec<_> = terms.iter().map(describe).collect();
    described.dedup();
    story.step(
        10,
        &format!(
            "The client verifies signatures, certificate chain and dates, and stores the {}\n({}).",
            if plural { "licenses" } else { "license" },
            described.join("; "),
        ),
    );
}

fn describe(terms: &LicenseBody) -> String {
    let begin = terms.begin.map_or_else(
        || "at once".to_owned(),
        |begin| format!("from {}", report::time(begin)),
    );
    format!("{begin}, {}", report::until(terms.end))
}
