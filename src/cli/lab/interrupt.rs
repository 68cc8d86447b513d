//! What happens when the process in front of a lab is told to end.

use std::process::exit;
use std::thread;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::instance;
use crate::cli::output;

/// A process that a signal ended exits with this plus the signal's number, as shells have it.
const EXIT_SIGNAL: i32 = 128;

/// From now on SIGINT, SIGTERM, SIGHUP and, where panics abort, a panic take the labs of this
/// process away before it ends.
pub fn install() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = {
        let _context = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::spawn(move || {
        let received = runtime.block_on(async {
            tokio::select! {
                _ = signals.0.recv() => Signal::SIGINT,
                _ = signals.1.recv() => Signal::SIGTERM,
                _ = signals.2.recv() => Signal::SIGHUP,
            }
        });
        instance::close_admission();
        output::message(&format!("\n{received}: taking the lab away"));
        if let Err(error) = instance::remove_owned() {
            output::message(&format!("the lab is not completely removed: {error}"));
        }
        exit(EXIT_SIGNAL + received as i32);
    });
    if cfg!(panic = "abort") {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            // The process is gone after this hook; what cannot be removed is left to `rail lab
            // down`.
            let _ = instance::remove_owned();
        }));
    }
    Ok(())
}
