//! `keyward completions` and `keyward man`: made from the command line's own definition.

use clap::CommandFactory;
use serde_json::json;

use crate::{
    args::{Cli, CompletionsArgs, ManArgs},
    failure::{Failure, file_error},
    report::Report,
};

pub(crate) fn completions(args: &CompletionsArgs, report: Report) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "keyward", &mut script);
    let script = String::from_utf8_lossy(&script);
    report.result(
        script.trim_end(),
        &json!({ "shell": args.shell.to_string(), "script": script }),
    )
}

pub(crate) fn man(args: &ManArgs, report: Report) -> Result<(), Failure> {
    let failed = file_error("write", &args.output);
    std::fs::create_dir_all(&args.output).map_err(&failed)?;
    clap_mangen::generate_to(Cli::command(), &args.output).map_err(&failed)?;
    let output = args.output.display();
    report.result(
        &format!("the manual pages are in {output}; read one with `man -l {output}/keyward.1`"),
        &json!({ "output": output.to_string() }),
    )
}
