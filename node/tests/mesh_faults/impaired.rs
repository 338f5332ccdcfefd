//! Links that are slow, narrow and lossy.

use super::link::Weather;
use super::number;
use super::pair::{Pair, report, traffic, write_all};
use super::process::put;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// 256 kbit/s, as a radio has it.
const NARROW: u32 = 32_000;

/// A radio link.
const RADIO: Weather = Weather {
    delay: Duration::from_millis(100),
    jitter: Duration::from_millis(20),
    loss: 5,
    rate: Some(NARROW),
    cut: false,
};

// A lone write whose last packet is lost is another case than a stream, in which the next packet tells of the loss.
#[tokio::test(flavor = "multi_thread")]
async fn one_ten_or_twenty_five_writes_a_second_cross_a_slow_narrow_and_lossy_link_and_all_arrive() {
    let secs = number("PEAT_IMPAIRED_SECS", 10) as usize;
    tokio::join!(cross(1, secs), cross(10, secs), cross(25, secs));
}

/// Writes so many times a second, for so many seconds, on both sides of a radio link of its own.
async fn cross(rate: usize, secs: usize) {
    let pair = Pair::start(rate as u64).await;
    pair.link.set(RADIO);
    pair.connected().await;
    let writes = rate * secs;
    let (here, there) = (pair.a.client(), pair.b.client());
    let began = Instant::now();
    for n in 0..writes {
        // The rate is the test's input: each write has its time.
        sleep_until(began + Duration::from_secs(1) * n as u32 / rate as u32).await;
        // Both sides write, and every fifth write is of a document that both write.
        let client = if n % 2 == 0 { &here } else { &there };
        let id = if n % 5 == 0 { "shared".to_owned() } else { format!("{n}") };
        put(client, "reports", &id, &report(n)).await.unwrap();
    }
    let documents = pair.agree("reports").await;
    assert_eq!(documents.len(), writes - writes.div_ceil(5) + 1, "{rate} a second");
    for (id, (json, _)) in documents.iter().filter(|(id, _)| *id != "shared") {
        assert_eq!(*json, report(id.parse().unwrap()), "{rate} a second: {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_byte_counters_are_what_the_network_sees() {
    let pair = Pair::start(42).await;
    pair.link.set(Weather { loss: 3, delay: Duration::from_millis(5), ..Weather::FAIR });
    pair.connected().await;
    // Handshakes of connections that did not come up are on the link, and on no connection.
    let before = counted_and_seen(&pair).await;
    for (node, collection) in [(&pair.a, "from-a"), (&pair.b, "from-b")] {
        write_all(node, collection, (0..500).map(|n| (format!("{n}"), Some(report(n))))).await;
        pair.agree(collection).await;
    }
    let after = counted_and_seen(&pair).await;
    for ((way, counted, seen), (_, counted_before, seen_before)) in after.into_iter().zip(before) {
        let (counted, seen) = (counted - counted_before, seen - seen_before);
        assert!(seen > 20_000, "{way}: {seen} bytes on the link");
        let off = counted.abs_diff(seen) as f64 / seen as f64;
        assert!(off < 0.05, "{way}: {counted} counted, {seen} on the link");
    }
}

/// Bytes that the nodes count and that are on the link, by way.
async fn counted_and_seen(pair: &Pair) -> [(&'static str, u64, u64); 4] {
    let (a, b) = (traffic(&pair.a).await, traffic(&pair.b).await);
    let (there, back) = (&pair.link.there, &pair.link.back);
    [
        ("a sent", a.0, there.taken()),
        ("b received", b.1, there.passed()),
        ("b sent", b.0, back.taken()),
        ("a received", a.1, back.passed()),
    ]
}
