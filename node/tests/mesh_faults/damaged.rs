//! Files of the store that are damaged while the node is down.

use super::number;
use super::pair::{Pair, agree, documents, report, write_all};
use super::process::Node;
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

/// Does one damage to one file of the store; says which.
fn damage(store: &Path, seed: u64) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let files = files(store);
    let path = &files[rng.random_range(0..files.len())];
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let offset = rng.random_range(0..length);
    let kind = match seed % 3 {
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
        _ => {
            file.set_len(offset).unwrap();
            "an early end"
        }
    };
    format!("seed {seed}: {kind} at {offset} of {length} in {}", path.strip_prefix(store).unwrap().display())
}

/// Two nodes that agree on documents of both kinds, in tables, journal and history; `b` has left.
async fn agreed() -> Pair {
    let mut pair = Pair::start(0).await;
    pair.connected().await;
    let wide = "x".repeat(10_000);
    write_all(&pair.a, "wide", (0..700).map(|n| (format!("{n:03}"), Some(format!(r#"{{"n":{n},"wide":"{wide}"}}"#)))))
        .await;
    for round in 0..3 {
        write_all(&pair.a, "reports", (0..100).map(|n| (format!("{n:03}"), Some(report(n + round))))).await;
        write_all(&pair.b, "tracks", (0..100).map(|n| (format!("{n:03}"), Some(report(n + round))))).await;
    }
    for collection in ["wide", "reports", "tracks"] {
        pair.agree(collection).await;
    }
    pair.b.leave().await;
    pair
}

/// Documents that `b` lacks or has otherwise than `a`.
async fn missing(a: &Node, b: &Node) -> usize {
    let mut missing = 0;
    for collection in ["wide", "reports", "tracks"] {
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
    let mut pair = agreed().await;
    let whole = tempfile::tempdir().unwrap();
    copy(&pair.b.data(), whole.path());
    for seed in 0..number("PEAT_DAMAGES", SEEDS) {
        fs::remove_dir_all(pair.b.data()).unwrap();
        copy(whole.path(), &pair.b.data());
        let what = damage(&pair.b.data().join("store"), seed);
        let before = pair.b.log().len();
        pair.b.start(&[]).await;
        let missing = missing(&pair.a, &pair.b).await;
        let log = pair.b.log().split_off(before);
        let told = log.lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARN ")).count();
        eprintln!("{what}: {missing} missing, told {told}");
        assert!(missing == 0 || told > 0, "{what}: {missing} documents are gone without a word");
        let far = format!("{}@{}", pair.a.id, pair.link.far);
        pair.b.kill();
        pair.b.start(&["--peer", &far]).await;
        for collection in ["wide", "reports", "tracks"] {
            agree(&pair.a, &pair.b, collection).await;
        }
        pair.b.kill();
    }
}
