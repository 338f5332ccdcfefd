//! The corpora of the fuzz targets of this crate, replayed.
//!
//! Inputs: `fuzz/corpus`. What must hold is in `fuzz/checks`, which the targets themselves run; see `docs/fuzzing.md`.

#[path = "../../fuzz/checks/backup.rs"]
mod backup;
#[path = "../../fuzz/checks/certificate.rs"]
mod certificate;
#[path = "../../fuzz/checks/query.rs"]
mod query;
#[path = "../../fuzz/checks/replay.rs"]
mod replay;
#[path = "../../fuzz/checks/store.rs"]
mod store;

use replay::replay;

#[test]
fn every_query_of_the_corpus_is_one_or_an_error() {
    replay("query", query::check);
}

#[test]
fn every_certificate_of_the_corpus_is_a_members_or_an_error() {
    replay("certificate", certificate::check);
}

#[test]
fn every_backup_of_the_corpus_is_sound_or_an_error() {
    replay("backup", backup::check);
}

#[test]
fn a_store_with_the_faults_of_the_corpus_tells_nothing_that_was_not_written() {
    replay("store", store::check);
}
