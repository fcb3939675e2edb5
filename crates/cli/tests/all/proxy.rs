//! Between the parties: the loop through `keyward proxy`, and what becomes of a client whose messages are
//! carried badly.

#[cfg(unix)]
mod busy;
mod carrier;
mod carriers;
mod files;
mod processes;
