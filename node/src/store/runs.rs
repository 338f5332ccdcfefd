//! Which run of the process gave out which numbers.
//!
//! Purpose: the id of a store stays with its files. A data folder that is put back or copied, or a journal that lost
//! its end, gives numbers out again under the same id, and for other changes. So each process that writes is a run,
//! with a random number, and notes it with the first number that it gives out: a run and a number name one change, in
//! every copy of the store. The note is in the batch of that first change. So it costs no wait for the disk, is there
//! exactly if the change is, and a start after which nothing is written leaves none. An engine that is opened again
//! within a process goes on with the run, since the store gives no number out twice while it lives. Inputs: an engine,
//! its batches. Outputs: the run of a number. What it does not do: remember more than so many runs; tell apart two
//! processes that were resumed from one image of the memory.

use super::engine::Engine;
use super::{Run, Seq};
use fjall::OwnedWriteBatch;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::warn;

/// Of each run its first number and itself, 8 bytes each, big endian, ascending.
const META_RUNS: &str = "runs";

/// Of numbers from before runs were noted, and of those that came with a copy.
const UNNOTED: Run = 0;

/// Runs that are remembered: 1 KiB.
const KEPT: usize = 64;

/// The runs of an open store.
pub(super) struct Runs {
    /// Of this process.
    own: Run,
    known: Mutex<Known>,
}

impl Runs {
    /// As `engine` has noted them.
    pub(super) fn of(engine: &Engine) -> Self {
        Self { own: uuid::Uuid::new_v4().as_u64_pair().1, known: Mutex::new(Known::noted(engine)) }
    }

    /// After a failed write or a rebuilding: what this process has noted may be there or not.
    pub(super) fn renew(&self, engine: &Engine) {
        let noted = Known::noted(engine);
        *self.known() = noted;
    }

    pub(super) fn run(&self, seq: Seq) -> Option<Run> {
        self.known().run(seq)
    }

    /// Adds the note to the batch whose first number is `first`, if it is not written yet. In a batch of its own it
    /// would have to be synced: of two that are not, a power cut may take the first, and that looks like damage.
    pub(super) fn note(&self, engine: &Engine, batch: &mut OwnedWriteBatch, first: Seq) {
        if let Some(with_own) = self.known().with(first, self.own) {
            batch.insert(&engine.meta, META_RUNS, with_own.bytes());
        }
    }

    /// After the batch of [`Runs::note`] was committed.
    pub(super) fn begun(&self, first: Seq) {
        let mut known = self.known();
        if let Some(with_own) = known.with(first, self.own) {
            *known = with_own;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes in `to`, which has the same numbers, what `from` has noted.
pub(super) fn copy(from: &Engine, to: &Engine) -> fjall::Result<()> {
    let bytes = Known::noted(from).bytes();
    to.note([(META_RUNS, bytes.as_slice())])
}

/// First numbers and runs, ascending.
#[derive(Debug, PartialEq, Eq)]
struct Known(Vec<(Seq, Run)>);

impl Known {
    /// Where the note cannot be read, nothing is known.
    fn noted(engine: &Engine) -> Self {
        match engine.meta.get(META_RUNS) {
            Ok(Some(bytes)) => Self::parse(&bytes),
            Ok(None) => Self(vec![(0, UNNOTED)]),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "it cannot be read which runs wrote to the store");
                Self(Vec::new())
            }
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let (entries, _) = words.as_chunks::<2>();
        Self(entries.iter().map(|[first, run]| (Seq::from_be_bytes(*first), Run::from_be_bytes(*run))).collect())
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(first, run)| [first.to_be_bytes(), run.to_be_bytes()]).flatten().collect()
    }

    fn run(&self, seq: Seq) -> Option<Run> {
        self.0.iter().rev().find(|(first, _)| *first <= seq).map(|(_, run)| *run)
    }

    /// The same with the run `own`, which begins with the number `first`; none if it began before.
    fn with(&self, first: Seq, own: Run) -> Option<Self> {
        if self.0.last().is_some_and(|(_, run)| *run == own) {
            return None;
        }
        // One that began no earlier has no change that is still there.
        let earlier = self.0.iter().copied().filter(|(begin, _)| *begin < first);
        let mut runs: Vec<_> = earlier.chain([(first, own)]).collect();
        runs.drain(..runs.len().saturating_sub(KEPT));
        Some(Self(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::FOLDER;
    use crate::store::disk::tests::copy as copy_folder;
    use crate::store::seal::StoreKeys;
    use crate::store::{DiskStore, Store as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use peat_node_core::event::Write;
    use peat_node_core::ids::{Collection, Key};
    use std::collections::BTreeMap;
    use std::path::Path;

    fn commit(store: &DiskStore, id: &str) -> Seq {
        let key = Key::new(&Collection::parse("agents").unwrap(), id).unwrap();
        let write = Write { row: b"row".to_vec(), history: None, visible: true };
        store.commit(&BTreeMap::from([(key, write)])).unwrap()
    }

    fn open(data: &Path) -> DiskStore {
        DiskStore::open(data).unwrap()
    }

    /// Looks into a closed store.
    fn with_engine<T>(data: &Path, look: impl FnOnce(&Engine) -> T) -> T {
        look(&Engine::open(&data.join(FOLDER), &StoreKeys::default()).ok().unwrap())
    }

    #[test]
    fn a_number_that_a_folder_which_was_put_back_gives_out_again_is_of_another_run() {
        let (data, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(data.path());
        assert_eq!(commit(&store, "a"), 1);
        let (id, first) = (store.id().unwrap(), store.run(1).unwrap());
        drop(store);
        copy_folder(data.path(), kept.path());
        let store = open(data.path());
        assert_eq!((store.run(1), commit(&store, "b")), (Some(first), 2));
        let lost = store.run(2).unwrap();
        drop(store);
        let store = open(kept.path());
        assert_eq!(["c", "d"].map(|id| commit(&store, id)), [2, 3]);
        let again = store.run(2).unwrap();
        assert_eq!((store.id().unwrap(), store.run(1), store.run(3)), (id, Some(first), Some(again)));
        assert!(first != lost && lost != again && again != first);
        drop(store);
        let store = open(kept.path());
        assert_eq!([1, 2, 3].map(|seq| store.run(seq)), [first, again, again].map(Some), "it is on the disk");
    }

    #[test]
    fn a_number_that_the_journal_lost_is_of_another_run_when_it_is_given_out_again() {
        let (data, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(data.path());
        assert_eq!(commit(&store, "a"), 1);
        copy_folder(data.path(), cut.path());
        assert_eq!(commit(&store, "b"), 2);
        let run = store.run(1).unwrap();
        assert_eq!(store.run(2), Some(run));
        let store = open(cut.path());
        assert_eq!(commit(&store, "c"), 2);
        assert_eq!(store.run(1), Some(run));
        assert_ne!(store.run(2), Some(run));
    }

    #[test]
    fn numbers_of_an_earlier_release_stay_of_no_run_when_runs_follow() {
        let data = tempfile::tempdir().unwrap();
        drop(open(data.path()));
        let is_noted = |engine: &Engine| engine.meta.get(META_RUNS).unwrap().is_some();
        assert!(!with_engine(data.path(), is_noted), "nothing was written");
        assert_eq!(commit(&open(data.path()), "a"), 1);
        assert!(with_engine(data.path(), is_noted));
        with_engine(data.path(), |engine| engine.meta.remove(META_RUNS).unwrap());
        let store = open(data.path());
        assert_eq!([0, 1].map(|seq| store.run(seq)), [Some(UNNOTED); 2]);
        assert_eq!(commit(&store, "b"), 2);
        assert_eq!([0, 1].map(|seq| store.run(seq)), [Some(UNNOTED); 2]);
        assert!(store.run(2).is_some_and(|run| run != UNNOTED));
    }

    #[test]
    fn a_store_that_is_sealed_keeps_its_runs_as_it_keeps_its_numbers() {
        let data = tempfile::tempdir().unwrap();
        let runs = ["a", "b"].map(|id| {
            let store = open(data.path());
            store.run(commit(&store, id)).unwrap()
        });
        let keys = StoreKeys::parse(&STANDARD.encode([1; 32])).unwrap();
        let sealed = DiskStore::open_sealed(data.path(), &keys).unwrap();
        assert_eq!([1, 2].map(|seq| sealed.run(seq)), runs.map(Some));
    }

    #[test]
    fn the_newest_runs_are_remembered_and_numbers_from_before_them_are_of_none_that_is_known() {
        let mut known = Known(vec![(0, UNNOTED)]);
        for run in 1..=KEPT as u64 {
            known = known.with(10 * run, run).unwrap();
            assert_eq!(known.with(10 * run + 1, run), None, "it has begun");
            assert_eq!(Known::parse(&known.bytes()), known);
        }
        assert_eq!([0, 9, 10, 19, 20].map(|seq| known.run(seq)), [None, None, Some(1), Some(1), Some(2)]);
        let (first, last) = (10 * KEPT as Seq, KEPT as Run);
        assert_eq!([first - 1, first, Seq::MAX].map(|seq| known.run(seq)), [last - 1, last, last].map(Some));
    }

    #[test]
    fn a_run_whose_first_change_was_lost_gives_way_to_the_next() {
        let known = Known(vec![(0, UNNOTED), (5, 1), (8, 2)]);
        assert_eq!(known.with(8, 3), Some(Known(vec![(0, UNNOTED), (5, 1), (8, 3)])));
        assert_eq!(known.with(3, 3), Some(Known(vec![(0, UNNOTED), (3, 3)])));
        assert_eq!(Known(Vec::new()).with(3, 3), Some(Known(vec![(3, 3)])), "where the note could not be read");
    }
}
