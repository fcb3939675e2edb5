//! One file a command.

pub(crate) mod acknowledge;
pub(crate) mod acquire;
pub(crate) mod admin;
pub(crate) mod backup;
pub(crate) mod carry;
pub(crate) mod check;
pub(crate) mod danger;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod enrol;
pub(crate) mod explain;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod key_exchange;
pub(crate) mod licenses;
pub(crate) mod package;
pub(crate) mod packager;
pub(crate) mod play;
pub(crate) mod proxy;
pub(crate) mod replay;
pub(crate) mod segment;
pub(crate) mod serve;
pub(crate) mod services;
pub(crate) mod shell;
pub(crate) mod trust;
