//! Files of the store that are damaged while the node is down.

use super::number;
use super::pair::{agree, documents, node, policy, report, set_policy, write_all};
use super::process::{Node, wait_for};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Damages, each of another place and kind.
const SEEDS: u64 = 24;

/// Every file below `folder`, in a fixed order, without empty ones.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        if meta.is_dir() {
            found.extend(files(&path));
        } else if meta.len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A copy that can be given back again and again.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Bytes of a file until only zeros follow, which are a journal's reserve.
fn used(path: &Path) -> u64 {
    fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Where to damage: in odd seeds any file is as likely as another, in even ones any byte of them all that is used.
fn place(store: &Path, seed: u64, rng: &mut StdRng) -> (PathBuf, u64, u64) {
    let lengths = files(store).into_iter().map(|path| (used(&path), path));
    let mut files: Vec<(u64, PathBuf)> = lengths.filter(|(length, _)| *length > 0).collect();
    if seed % 2 == 1 {
        let (length, path) = files.swap_remove(rng.random_range(0..files.len()));
        return (path, rng.random_range(0..length), length);
    }
    let mut offset = rng.random_range(0..files.iter().map(|(length, _)| length).sum::<u64>());
    for (length, path) in files {
        if offset < length {
            return (path, offset, length);
        }
        offset -= length;
    }
    unreachable!("the offset is below the sum of the lengths")
}

/// Does one damage to one file of the store; says which, and whether that can be told from an end that was in order: of
/// a journal that is cut short, nothing says that it was longer.
fn damage(store: &Path, seed: u64) -> (String, bool) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (path, offset, length) = place(store, seed, &mut rng);
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let kind = match seed / 2 % 4 {
        0 => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << rng.random_range(0..8))], offset).unwrap();
            "a flipped bit"
        }
        1 => {
            let mut garbage = vec![0; (length - offset).min(512) as usize];
            rng.fill_bytes(&mut garbage);
            file.write_all_at(&garbage, offset).unwrap();
            "garbage"
        }
        2 => {
            file.set_len(offset).unwrap();
            "an early end"
        }
        _ => {
            file.set_len(0).unwrap();
            "nothing left"
        }
    };
    let is_cut = seed / 2 % 4 > 1;
    let what =
        format!("seed {seed}: {kind} at {offset} of {length} in {}", path.strip_prefix(store).unwrap().display());
    (what, !(is_cut && is_journal(&path)))
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jnl")
}

const COLLECTIONS: [&str; 3] = ["wide", "reports", "tracks"];

/// The one that has a policy.
const RULED: &str = "reports";

/// How `b` ended.
#[derive(Debug, Clone, Copy)]
enum End {
    /// With everything in tables, and little in the journal.
    Left,
    /// With what was written last in the journal alone.
    Killed,
}

/// Two nodes that agree on documents of both kinds, in tables, journal and history; `b` has ended.
async fn agreed(end: End) -> (Node, Node) {
    let (mut a, mut b) = (node("127.0.0.1"), node("127.0.0.1"));
    tokio::join!(a.start(&[]), b.start(&[]));
    b.connect(&a).await.unwrap();
    let wide = "x".repeat(10_000);
    let wide = (0..700).map(|n| (format!("{n:03}"), Some(format!(r#"{{"n":{n},"wide":"{wide}"}}"#))));
    write_all(&a, "wide", wide).await;
    for round in 0..3 {
        write_all(&a, "reports", (0..100).map(|n| (format!("{n:03}"), Some(report(n + round))))).await;
        write_all(&b, "tracks", (0..100).map(|n| (format!("{n:03}"), Some(report(n + round))))).await;
    }
    set_policy(&a.client(), RULED, 86_400).await.unwrap();
    agree_on_all(&a, &b).await;
    match end {
        End::Left => b.leave().await,
        End::Killed => b.kill(),
    }
    (a, b)
}

/// Waits until both have the same documents, and the same policy.
async fn agree_on_all(a: &Node, b: &Node) {
    for collection in COLLECTIONS {
        agree(a, b, collection).await;
    }
    let expected = policy(a, RULED).await;
    assert!(expected.is_some(), "the policy that was set");
    let same = || async { (policy(b, RULED).await == expected).then_some(()) };
    wait_for("both to agree on a policy", same).await;
}

/// How many documents, the policy among them, `b` lacks or has otherwise than `a`.
async fn missing(a: &Node, b: &Node) -> usize {
    let mut missing = usize::from(policy(a, RULED).await != policy(b, RULED).await);
    for collection in COLLECTIONS {
        let (here, there) = tokio::join!(documents(a, collection), documents(b, collection));
        for (id, (json, version)) in &there {
            let (expected, last) = &here[id];
            assert!(version != last || json == expected, "{collection}/{id} has the right version and wrong content");
        }
        missing += here.iter().filter(|(id, document)| there.get(*id) != Some(document)).count();
    }
    missing
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_damaged_files_starts_says_what_it_lost_and_heals_from_its_peer() {
    starts_with_damage_and_heals(End::Left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_with_damaged_files_starts_says_what_it_lost_and_heals_from_its_peer() {
    starts_with_damage_and_heals(End::Killed).await;
}

async fn starts_with_damage_and_heals(end: End) {
    let (a, mut b) = agreed(end).await;
    let whole = tempfile::tempdir().unwrap();
    copy(&b.data(), whole.path());
    let (first, last) = (number("PEAT_SEED", 0), number("PEAT_DAMAGES", SEEDS));
    for seed in first..first + last {
        fs::remove_dir_all(b.data()).unwrap();
        copy(whole.path(), &b.data());
        let (what, shows) = damage(&b.data().join("store"), seed);
        let before = b.log().len();
        b.start(&[]).await;
        let missing = missing(&a, &b).await;
        let log = b.log().split_off(before);
        let told = log.lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARN ")).count();
        eprintln!("{what}: {missing} documents missing, {told} lines about it");
        assert!(missing == 0 || told > 0 || !shows, "{what}: {missing} documents are gone without a word");
        b.connect(&a).await.unwrap();
        agree_on_all(&a, &b).await;
        b.leave().await;
    }
}

/// Documents that are written one after another, each of its own batch or nearly so.
const WRITES: usize = 120;

/// Turns a bit over in the middle of the text of a document, where it is first in the journal; answers whether it is
/// there.
fn flip_in_document(store: &Path, text: &str) -> bool {
    for path in files(store).into_iter().filter(|path| is_journal(path)) {
        let bytes = fs::read(&path).unwrap();
        let place = bytes.windows(text.len()).position(|window| window == text.as_bytes());
        if let Some(place) = place.map(|place| place + text.len() / 2) {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&[bytes[place] ^ 4], place as u64).unwrap();
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_alone_with_a_flipped_bit_in_its_journal_has_what_it_acknowledged_before_and_after() {
    let mut node = Node::prepare(&[]);
    node.start(&[]).await;
    let marked = |n: usize| format!("the-{n:03}-of-them-{}", "x".repeat(200));
    for n in 0..WRITES {
        node.put("alone", &format!("{n:03}"), &format!(r#"{{"text":"{}"}}"#, marked(n))).await;
    }
    node.kill();
    let whole = tempfile::tempdir().unwrap();
    copy(&node.data(), whole.path());
    for n in [0, 1, WRITES / 2, WRITES - 1] {
        fs::remove_dir_all(node.data()).unwrap();
        copy(whole.path(), &node.data());
        assert!(flip_in_document(&node.data().join("store"), &marked(n)), "document {n} is in no journal");
        let before = node.log().len();
        node.start(&[]).await;
        let found = node.list("alone").await;
        let expected: Vec<String> = (0..WRITES).filter(|other| *other != n).map(|n| format!("{n:03}")).collect();
        let missing: Vec<_> = expected.iter().filter(|id| !found.contains(id)).collect();
        assert!(missing.is_empty(), "after damage to document {n}: {missing:?}");
        let log = node.log().split_off(before);
        assert_eq!(log.lines().filter(|line| line.contains(" ERROR ")).count(), 1, "document {n}: {log}");
        node.put("alone", "after", "{}").await;
        node.leave().await;
    }
}
