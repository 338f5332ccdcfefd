//! SIGKILL, or SIGTERM, at random moments of a burst.

use super::number;
use super::pair::{agree, node, policy, set_policy};
use super::process::{Client, Node, PATIENCE, put, wait_for};
use connectrpc::ConnectError;
use peat_proto::sidecar::peat::sidecar::v1::DeleteDocumentRequest;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const WRITERS: usize = 8;

/// Documents of one writer: so few that they are edited, deleted and made again.
const DOCUMENTS: usize = 12;

/// After so many kills the node is told to end once, which is a round of its own.
const KILLS_FOR_A_STOP: u64 = 4;

/// What a document may be: what was last acknowledged, or what was asked for since and not answered. `None` is no
/// document.
#[derive(Debug, Clone, Default)]
struct Entry {
    acknowledged: Option<String>,
    unanswered: Option<Option<String>>,
}

type Ledger = BTreeMap<String, Entry>;

/// The collection of which only the policy is set.
const RULED: &str = "kill-policies";

/// What the node owes: documents, by writer, and the seconds of a policy.
struct Owed {
    documents: Vec<Ledger>,
    policy: Entry,
}

impl Entry {
    /// Compares what was found with what is owed, and settles what was unanswered.
    fn settle(&mut self, found: Option<String>, what: &str) {
        let made = self.unanswered.as_ref().is_some_and(|wanted| *wanted == found);
        assert!(found == self.acknowledged || made, "{what} is {found:?}, but should be {self:?}");
        *self = Self { acknowledged: found, unanswered: None };
    }
}

/// Counts acknowledgements, and wakes who waits for a number of them. Until the node is to end no call may fail.
#[derive(Default)]
struct Acknowledged {
    count: AtomicUsize,
    changed: Notify,
    ending: AtomicBool,
}

impl Acknowledged {
    fn one_more(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    async fn reach(&self, count: usize) {
        let reached = async {
            while self.count.load(Ordering::SeqCst) < count {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }
}

async fn delete(client: &Client, id: &str) -> Result<(), ConnectError> {
    let request = DeleteDocumentRequest { collection: "kill".into(), doc_id: id.into(), ..Default::default() };
    client.delete_document(request).await.map(drop)
}

/// Puts and deletes documents of `ledger` one after another until the node is gone.
async fn write(client: Client, mut ledger: Ledger, mut rng: StdRng, acknowledged: Arc<Acknowledged>) -> Ledger {
    let ids: Vec<String> = ledger.keys().cloned().collect();
    loop {
        let id = &ids[rng.random_range(0..ids.len())];
        let wanted =
            rng.random_ratio(3, 4).then(|| format!(r#"{{"a":{},"b":{}}}"#, rng.next_u32(), rng.next_u32() % 3));
        let done = match &wanted {
            Some(json) => put(&client, "kill", id, json).await,
            None => delete(&client, id).await,
        };
        let entry = ledger.get_mut(id).unwrap();
        if let Err(error) = done {
            assert!(acknowledged.ending.load(Ordering::SeqCst), "a node that is up refuses: {error}");
            entry.unanswered = Some(wanted);
            return ledger;
        }
        entry.acknowledged = wanted;
        acknowledged.one_more();
    }
}

/// Sets a policy again and again until the node is gone.
async fn rule(client: Client, mut entry: Entry, mut rng: StdRng, acknowledged: Arc<Acknowledged>) -> Entry {
    loop {
        let secs = rng.random_range(1..u32::MAX);
        let wanted = Some(secs.to_string());
        if let Err(error) = set_policy(&client, RULED, secs.into()).await {
            assert!(acknowledged.ending.load(Ordering::SeqCst), "a node that is up refuses: {error}");
            entry.unanswered = Some(wanted);
            return entry;
        }
        entry.acknowledged = wanted;
        acknowledged.one_more();
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM: it leaves in its own time, which does not make it more forgetful.
    Stop,
}

/// Writes from all writers, ends the node after a random number of acknowledgements, and returns what it owes.
async fn burst(node: &mut Node, owed: Owed, rng: &mut StdRng, end: End) -> Owed {
    let acknowledged = Arc::new(Acknowledged::default());
    let client = node.client();
    let dice = StdRng::seed_from_u64(rng.next_u64());
    let ruler = tokio::spawn(rule(client.clone(), owed.policy, dice, Arc::clone(&acknowledged)));
    let writers: Vec<_> = owed
        .documents
        .into_iter()
        .map(|ledger| {
            let rng = StdRng::seed_from_u64(rng.next_u64());
            tokio::spawn(write(client.clone(), ledger, rng, Arc::clone(&acknowledged)))
        })
        .collect();
    acknowledged.reach(rng.random_range(1..300)).await;
    // Not at the moment of an acknowledgement, but anywhere between two.
    tokio::time::sleep(Duration::from_micros(rng.random_range(0..5_000))).await;
    acknowledged.ending.store(true, Ordering::SeqCst);
    match end {
        End::Kill => node.kill(),
        End::Stop => node.leave().await,
    }
    let mut documents = Vec::new();
    for writer in writers {
        documents.push(writer.await.unwrap());
    }
    Owed { documents, policy: ruler.await.unwrap() }
}

/// Compares the node with what it owes.
async fn settle(node: &Node, owed: &mut Owed, what: &str) {
    for (id, entry) in owed.documents.iter_mut().flatten() {
        entry.settle(node.get("kill", id).await, &format!("{what}: {id}"));
    }
    owed.policy.settle(ruled(node).await, &format!("{what}: the policy"));
}

/// The seconds of the policy, as the node has them.
async fn ruled(node: &Node) -> Option<String> {
    policy(node, RULED).await?.tombstone_ttl_secs.map(|secs| secs.to_string())
}

fn nothing() -> Owed {
    let ledger =
        |writer: usize| -> Ledger { (0..DOCUMENTS).map(|n| (format!("{writer}-{n}"), Entry::default())).collect() };
    Owed { documents: (0..WRITERS).map(ledger).collect(), policy: Entry::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_five_kills_and_six_stops_in_bursts_of_puts_deletes_and_policies_lose_nothing_that_was_acknowledged() {
    let seed = number("PEAT_SEED", rand::rng().next_u64());
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut a, mut b) = (node("127.0.0.1"), node("127.0.0.1"));
    b.start(&[]).await;
    let mut owed = nothing();
    let (kills, mut stops) = (number("PEAT_KILLS", 25), 0);
    for kill in 1..=kills {
        round(&mut a, &b, &mut owed, &mut rng, (End::Kill, &format!("PEAT_SEED={seed}, kill {kill}"))).await;
        if kill % KILLS_FOR_A_STOP == 0 {
            stops += 1;
            round(&mut a, &b, &mut owed, &mut rng, (End::Stop, &format!("PEAT_SEED={seed}, stop {stops}"))).await;
        }
        if kill % 50 == 0 {
            eprintln!("{kill} of {kills} kills, nothing lost");
        }
    }
    agreed(&mut a, &b, &owed, seed).await;
    eprintln!("{kills} kills and {stops} stops, nothing lost");
}

/// A burst that ends like this, and a look at what is left of it.
async fn round(a: &mut Node, b: &Node, owed: &mut Owed, rng: &mut StdRng, (end, what): (End, &str)) {
    a.start(&["--peer", &b.address()]).await;
    *owed = burst(a, std::mem::replace(owed, nothing()), rng, end).await;
    a.start(&[]).await;
    settle(a, owed, what).await;
    a.kill();
}

/// In the end both nodes have what is owed, and no start found damage.
async fn agreed(a: &mut Node, b: &Node, owed: &Owed, seed: u64) {
    a.start(&["--peer", &b.address()]).await;
    let documents = agree(a, b, "kill").await;
    let count = owed.documents.iter().flatten().filter(|(_, entry)| entry.acknowledged.is_some()).count();
    assert_eq!(documents.len(), count, "PEAT_SEED={seed}");
    let same = || async { (ruled(b).await == owed.policy.acknowledged).then_some(()) };
    wait_for("the peer to have the policy", same).await;
    let log = a.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert!(errors.is_empty(), "PEAT_SEED={seed}: a start found damage: {errors:?}");
}
