//! Media, proved against programs that nobody here wrote: what `keyward package` writes, ffmpeg in two
//! versions and Shaka Packager decrypt to the clear samples, all of them; what those write, and what others
//! published, `keyward danger decrypt` does.
//!
//! Without the programs or the vectors a proof is not run, which is said aloud; `cargo xtask test` installs
//! the programs.

mod malformed;
mod peers;
mod pipes;
mod qualities;
mod segments;
mod vectors;
mod workshop;
