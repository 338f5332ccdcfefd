//! The file of rights: what each peer may read and write of each collection.
//!
//! Inputs: the file of `--rights-file`, read again and again. Outputs: [`Rights`] for the engine, at the start and when
//! they change. What it does not do: judge them, or keep anything from anybody; see [`peat_node_core::rights`].

use crate::api::access::{AccessError, Source, Watched};
use crate::driver::Message;
use crate::metrics::Metrics;
use peat_node_core::Input;
use peat_node_core::rights::Rights;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

const FLAG: &str = "rights-file";

/// Time between two looks at the file; two that agree make a change.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads the file for the first time.
pub(crate) fn read(path: &Path) -> Result<(Watched<Rights>, Rights), AccessError> {
    let make = |[source]: [&Source; 1], [content]: [&[u8]; 1]| {
        let text = std::str::from_utf8(content).map_err(|_| AccessError::content(source, "is not text"))?;
        Rights::parse(text).map_err(|reason| AccessError::content(source, format!("is refused: {reason}")))
    };
    Watched::begin([Source::new(FLAG, path)], Box::new(make))
}

/// Tells the engine of rules that are new, until `stop`.
pub(crate) async fn follow(
    mut watched: Watched<Rights>,
    messages: mpsc::Sender<Message>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        let looked = tokio::task::spawn_blocking(move || {
            let found = watched.look();
            (watched, found)
        });
        let Ok((again, found)) = looked.await else {
            error!("the file of rights is no longer followed: the look at it panicked");
            return;
        };
        watched = again;
        metrics.rights_stale(watched.is_stale());
        match found {
            None => {}
            Some(Ok(rights)) => {
                info!(collections = rights.collections(), "new rights are in force");
                // Fails only when the driver has ended, which `run` notices by itself.
                let _ = messages.send(Message::Event(Input::Rights(rights))).await;
            }
            Some(Err(reason)) => {
                let reason: &dyn std::error::Error = &reason;
                warn!(reason, "the file of rights cannot be used, the rights stay as they were");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_told_in_one_line_with_its_flag_its_path_and_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "* both *\nships see *\n").unwrap();
        let error = read(file.path()).err().unwrap().to_string();
        let path = file.path().display();
        assert_eq!(
            error,
            format!("--rights-file: {path} is refused: line 2: \"see\" is not `read`, `write` or `both`")
        );
        std::fs::write(file.path(), "ships read *\n").unwrap();
        assert_eq!(read(file.path()).unwrap().1.collections(), 1);
    }
}
