//! Waiting for a condition, with a deadline and an error that says what was seen last.
//!
//! Input: a deadline, a name for what is awaited, and a check. Output: what the check found, or a [`WaitError`] with
//! the last state. Does not watch: it asks again, which is right for conditions over several objects or outside
//! Kubernetes.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// Time between two checks: short against the seconds a cluster takes, long against a request to a local API server.
const INTERVAL: Duration = Duration::from_millis(100);

/// A condition did not hold in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {waited:?} for {what}; last seen: {last}")]
pub struct WaitError {
    /// What was awaited.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// What the last check that ended said; a check that never ended says so.
    pub last: String,
}

/// Calls `check` until it returns `Ok`, at most until `deadline` has passed.
///
/// `Err(state)` means "not yet", and `state` is what the timeout error shows: put there what was seen instead. Errors
/// of requests belong there too, because a server that is starting gives them. A check that hangs is cut off at the
/// deadline.
pub async fn wait_for<T, S, F>(deadline: Duration, what: &str, mut check: F) -> Result<T, WaitError>
where
    S: Display,
    F: AsyncFnMut() -> Result<T, S>,
{
    let end = Instant::now() + deadline;
    let mut last = "nothing: the first check did not end".to_owned();
    loop {
        match tokio::time::timeout_at(end, check()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(state)) => last = state.to_string(),
            Err(_) => return Err(WaitError { what: what.to_owned(), waited: deadline, last }),
        }
        if Instant::now() + INTERVAL > end {
            return Err(WaitError { what: what.to_owned(), waited: deadline, last });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let mut checks = 0;
        let found = wait_for(Duration::from_secs(5), "three checks", async || {
            checks += 1;
            if checks == 3 { Ok(checks) } else { Err(format!("{checks} checks")) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_timeout_says_what_was_seen_last() {
        let never: Result<(), _> = wait_for(Duration::from_millis(150), "a pod", async || Err("pending")).await;
        assert_eq!(never.unwrap_err().to_string(), "waited 150ms for a pod; last seen: pending");
    }

    #[tokio::test]
    async fn a_check_that_hangs_is_cut_off() {
        let hangs: Result<(), WaitError> =
            wait_for::<(), &str, _>(Duration::from_millis(50), "an answer", async || std::future::pending().await)
                .await;
        assert!(hangs.is_err());
    }
}
