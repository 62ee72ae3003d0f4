//! `docker`: the image and the trial in `compose.yaml`, on an engine of our own.
//!
//! Owns that the files at the root build and run as they are: where no image can be pulled,
//! stand-ins carry the public names. Never touches the machine's own engine or its images.

pub(crate) mod engine;
pub(crate) mod image;
pub(crate) mod stand_ins;
mod trial;

use anyhow::{Result, bail};

use crate::shell;
use crate::steps::Steps;
use engine::Engine;

/// The name under which everything that is shipped knows the image.
pub(crate) const IMAGE: &str = "dockerhub_username/movies-api";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut steps = Steps::of("docker");
    steps.run("lint", image::lint)?;
    // What is kept there, images and layers, makes the second run quick.
    let engine = Engine::start(&shell::scratch("docker")?, &[])?;
    match words.as_slice() {
        [] => {
            steps.run("images", || stand_ins::for_building(&engine))?;
            steps.run("build", || image::build(&engine, "amd64"))?;
            steps.run("image", || image::check(&engine))?;
            steps.run("images of the trial", || stand_ins::for_the_trial(&engine))?;
            steps.run("compose", || trial::run(&engine))?;
        }
        ["--arm64"] => {
            steps.run("images", || stand_ins::for_building(&engine))?;
            steps.run("build", || image::build(&engine, "arm64"))?;
            steps.run("run", || image::run_arm64(&engine))?;
        }
        _ => bail!("usage: cargo xtask docker [--arm64]"),
    }
    steps.finish();
    Ok(())
}
