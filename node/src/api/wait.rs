//! How long a call waits for what other nodes do.
//!
//! Inputs: a `google.protobuf.Duration` of a request, and what is left of the call's time. Outputs: a wait that ends
//! while there is time for the answer. What it does not do: wait.

use buffa_types::google::protobuf::Duration as ProtoDuration;
use connectrpc::ConnectError;
use std::time::Duration;

/// At most nine tenths of what is `left`, which is also the wait of who names none.
///
/// # Errors
/// `INVALID_ARGUMENT` with the `field`'s name when the wait is negative.
pub(super) fn within(field: &str, wait: Option<&ProtoDuration>, left: Duration) -> Result<Duration, ConnectError> {
    let longest = left * 9 / 10;
    let Some(wait) = wait else { return Ok(longest) };
    let parts = u64::try_from(wait.seconds).ok().zip(u64::try_from(wait.nanos).ok());
    let wait = parts.map(|(seconds, nanos)| Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos)));
    Ok(wait.ok_or_else(|| ConnectError::invalid_argument(format!("{field} is negative")))?.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(seconds: i64, nanos: i32) -> Result<Duration, ConnectError> {
        within("wait", Some(&ProtoDuration { seconds, nanos, ..Default::default() }), Duration::from_secs(10))
    }

    #[test]
    fn a_wait_leaves_a_tenth_of_the_call_for_the_answer_and_is_not_negative() {
        assert_eq!(within("wait", None, Duration::from_secs(10)).unwrap(), Duration::from_secs(9));
        assert_eq!(asked(2, 500_000_000).unwrap(), Duration::from_millis(2_500));
        for (seconds, nanos) in [(10, 0), (i64::MAX, i32::MAX)] {
            assert_eq!(asked(seconds, nanos).unwrap(), Duration::from_secs(9));
        }
        for (seconds, nanos) in [(-1, 0), (0, -1)] {
            assert!(asked(seconds, nanos).unwrap_err().to_string().contains("wait is negative"));
        }
    }
}
