//! Test operators: the published test scenarios with virtual time, and the commands of the guide.

mod commands;
mod scenarios;
